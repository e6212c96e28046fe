import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from '../../../core/time.ts'
import type { Grant } from '../../../shares/grant.ts'
import type { Note, NoteStore } from '../../../store/store.ts'
import type { Notice } from '../../app.ts'
import { isBelow } from './paths.ts'

/** What a file or folder was on both sides when they were last the same. */
export interface Mirrored {
  readonly path: string
  /** Of the sender’s side: where a change of ours goes. */
  readonly url: string
  readonly isFolder: boolean
  /** As the sender’s side told it then. */
  readonly etag?: string | undefined
  readonly remoteSize?: number | undefined
  /** Epoch milliseconds. */
  readonly remoteModified?: number | undefined
  /** `last_modified` of the contents API. */
  readonly modified?: string | undefined
  readonly size?: number | undefined
  readonly sha256?: string | undefined
  /** It is being brought: what is there may be a part of it. */
  readonly partial?: true
  /** Both sides had changed it: `url` is the copy’s, and the file under the sender’s own name has not been brought yet. */
  readonly diverted?: true
}

/** A change in the home that the sender’s side may not have yet. */
export type Change =
  | { readonly kind: 'path'; readonly path: string; readonly at: number; readonly notBefore?: number }
  | { readonly kind: 'move'; readonly path: string; readonly to: string; readonly at: number }
  /** The server chose a name in this folder. */
  | { readonly kind: 'new'; readonly path: string; readonly at: number }

/** A change, and what is needed to settle this very one and none that came after it. */
export interface QueuedChange {
  readonly change: Change
  readonly note: Note
}

export interface LeftOut {
  readonly path: string
  /** In words for people. */
  readonly why: string
}

export interface Conflict {
  readonly path: string
  /** Where the recipient’s version is, beside it. */
  readonly copy: string
  /** Epoch seconds. */
  readonly at: number
}

/** Where the share is on the sender’s side. A single file is the only thing in the home that goes back. */
export interface Root {
  readonly url: string
  /** Its name in the home, when the share is a single file. */
  readonly file: string | undefined
}

/** What there is to know of one home, for people and for the next start. */
export interface ContentState {
  readonly grant: Grant
  readonly root: Root | undefined
  readonly leftOut: { readonly total: number; readonly listed: readonly LeftOut[] }
  readonly conflicts: readonly Conflict[]
  /** Epoch seconds. */
  readonly savedAt?: number | undefined
  /** Why changes wait, in words for people. */
  readonly waiting?: string | undefined
  /** What people have not been told yet. */
  readonly notice?: Notice | undefined
  /** Epoch seconds: until then it waits for a page that shows it. */
  readonly noticeUntil?: number | undefined
  /** Epoch seconds: since when they are kept for a share that nobody has open. */
  readonly unsavedSince?: number | undefined
}

const MAX_LISTED = 200
const MAX_CONFLICTS = 50
/** A home has no more than its limit of entries, and hardly more changes that wait. */
const ALL = 1_000_000
const FORGET_BATCH = 500

export type MirrorNotes = ReturnType<typeof createMirrorNotes>

/** What a webapp remembers of the homes of its servers; `name` is always the hub user. */
export function createMirrorNotes(webapp: string, { notes, now }: { notes: NoteStore; now: Clock }) {
  const mirrored = `content ${webapp}`
  const changes = `content changes ${webapp}`
  const states = `content state ${webapp}`

  async function put(space: string, id: string, value: unknown): Promise<void> {
    await notes.put({ space, id, data: JSON.stringify(value), expiresAt: undefined })
  }

  async function state(name: string): Promise<ContentState | undefined> {
    const note = await notes.get(states, name)
    return note && JSON.parse(note.data)
  }

  async function forgetAll(space: string, prefix: string): Promise<void> {
    for (;;) {
      const some = await notes.list(space, prefix, FORGET_BATCH)
      if (some.length === 0) return
      for (const { id } of some) await notes.delete(space, id)
    }
  }

  const changesOf = async (name: string, limit: number): Promise<QueuedChange[]> =>
    (await notes.list(changes, `${name}/`, limit)).map((note) => ({ note, change: JSON.parse(note.data) as Change }))

  return {
    async mirrored(name: string, path: string): Promise<Mirrored | undefined> {
      const note = await notes.get(mirrored, idOf(name, path))
      return note && JSON.parse(note.data)
    },

    /** Everything below a folder; `''`: everything. */
    async mirroredBelow(name: string, folder: string): Promise<Mirrored[]> {
      const all = (await notes.list(mirrored, `${name}/`, ALL)).map(({ data }) => JSON.parse(data) as Mirrored)
      return all.filter(({ path }) => isBelow(path, folder))
    },

    putMirrored: (name: string, it: Mirrored): Promise<void> => put(mirrored, idOf(name, it.path), it),

    deleteMirrored: (name: string, path: string): Promise<void> => notes.delete(mirrored, idOf(name, path)),

    /** Repeated saves of a path are one change; what changes names keeps its order and comes before them. */
    async queue(name: string, change: Change): Promise<void> {
      const order = change.kind === 'path' ? idOf('p', change.path) : `${moment(now())} ${nonce()}`
      await put(changes, `${name}/${order}`, { ...change, nonce: nonce() })
    },

    changesOf,

    /** No longer queued, unless the same path changed again meanwhile. */
    async settle({ note }: QueuedChange): Promise<void> {
      await notes.replace({ ...note, data: '', expiresAt: now() }, note.data)
    },

    async isQueued(name: string, path: string): Promise<boolean> {
      return (await notes.get(changes, `${name}/${idOf('p', path)}`)) !== undefined
    },

    /** Hub users with changes that wait. */
    async waiting(): Promise<string[]> {
      const all = await notes.list(changes, '', ALL)
      return [...new Set(all.map(({ id }) => id.split('/')[0] ?? ''))]
    },

    state,

    putState: (name: string, value: ContentState): Promise<void> => put(states, name, cut(value)),

    /** Changes what is known; nothing happens where nothing is. */
    async updateState(name: string, change: (state: ContentState) => ContentState): Promise<void> {
      for (;;) {
        const note = await notes.get(states, name)
        if (note === undefined) return
        const data = JSON.stringify(cut(change(JSON.parse(note.data))))
        if (data === note.data || (await notes.replace({ ...note, data }, note.data))) return
      }
    },

    dropChanges: (name: string): Promise<void> => forgetAll(changes, `${name}/`),

    async forget(name: string): Promise<void> {
      await forgetAll(changes, `${name}/`)
      await forgetAll(mirrored, `${name}/`)
      await notes.delete(states, name)
    },
  }
}

function cut(state: ContentState): ContentState {
  const { leftOut, conflicts } = state
  return {
    ...state,
    leftOut: { ...leftOut, listed: leftOut.listed.slice(0, MAX_LISTED) },
    conflicts: conflicts.slice(-MAX_CONFLICTS),
  }
}

function idOf(prefix: string, path: string): string {
  return `${prefix}/${createHash('sha256').update(path).digest('hex').slice(0, 40)}`
}

/** Sorts as time goes on. */
function moment(now: number): string {
  return String(Math.round(now * 1000)).padStart(16, '0')
}

const nonce = () => randomBytes(6).toString('hex')
