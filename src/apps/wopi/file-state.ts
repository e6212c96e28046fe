import type { Clock } from '../../core/time.ts'
import type { NoteStore } from '../../store/store.ts'
import type { HeldLock, Reading } from './locks.ts'

/** What we remember about a file, for all who have it open, in every process. */
export interface FileState {
  /** Part of the version; raised before and after every save, so that no version is ever seen twice. */
  readonly counter: number
  readonly lock?: HeldLock
  /** The WebDAV lock that stands for ours at the sender. */
  readonly upstreamLock?: { readonly token: string /** Epoch seconds. */; readonly takenAt: number }
  /** The last save, the lock that it was made under, and the time that the editor said with it. */
  readonly written?: Reading & { readonly lock: string; readonly timestamp?: string | undefined }
  /** A save that was begun and is not known to have ended. */
  readonly pending?: { readonly lock: string; readonly size: number; readonly from: Reading }
}

export type FileStates = ReturnType<typeof createFileStates>

const SPACE = 'wopi file'
const FORGOTTEN_AFTER_SECONDS = 30 * 86_400

/** The states of files, by file id. Changes are compare-and-swap: two processes never undo each other’s. */
export function createFileStates({ notes, now }: { notes: NoteStore; now: Clock }) {
  async function find(fileId: string): Promise<{ data: string | undefined; state: FileState }> {
    const data = (await notes.get(SPACE, fileId))?.data
    // A counter that starts at the time does not repeat itself when what we knew was forgotten.
    return { data, state: data === undefined ? { counter: Math.floor(now() * 1000) } : (JSON.parse(data) as FileState) }
  }

  /**
   * Changes a state from what it is at that moment.
   *
   * @param next called again when somebody else was faster; the very same state: nothing to change
   */
  async function change(fileId: string, next: (state: FileState) => FileState): Promise<FileState> {
    for (;;) {
      const { data, state } = await find(fileId)
      const changed = next(state)
      if (changed === state && data !== undefined) return state
      const note = {
        space: SPACE,
        id: fileId,
        data: JSON.stringify(changed),
        expiresAt: now() + FORGOTTEN_AFTER_SECONDS,
      }
      if (await notes.replace(note, data)) return changed
    }
  }

  return {
    /** The version that it makes is remembered: asked again, it is the same. */
    read: (fileId: string): Promise<FileState> => change(fileId, (state) => state),
    change,
  }
}

/** What `Version` and `X-WOPI-ItemVersion` say: plain ASCII, never the same twice for one file. */
export function versionOf({ etag, modified, size }: Reading, { counter }: FileState): string {
  const content = etag ?? `${modified ?? ''}-${size ?? ''}`
  return `${content.replace(/^W\//, '').replace(/[^\x21-\x7e]|"/g, '')}.${counter}`
}

/** One text for one time, because editors send it back to us. */
export function lastModifiedOf({ modified }: Reading): string | undefined {
  return modified === undefined ? undefined : new Date(modified).toISOString()
}

/** How long a lock at the sender is asked for; nobody may hold it for longer than ours. */
export const UPSTREAM_LOCK_SECONDS = 30 * 60

/** The token of the lock at the sender, until it has ended by itself. @param now epoch seconds */
export function upstreamLockOf({ upstreamLock }: FileState, now: number): string | undefined {
  return upstreamLock !== undefined && now < upstreamLock.takenAt + UPSTREAM_LOCK_SECONDS
    ? upstreamLock.token
    : undefined
}

/** Somebody may have taken another one meanwhile: that one stays. */
export function withoutUpstreamLock(state: FileState, token: string): FileState {
  if (state.upstreamLock?.token !== token) return state
  const { upstreamLock: _, ...rest } = state
  return rest
}
