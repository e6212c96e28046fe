/** The lock of one file, whoever holds it: a text of the editor’s, compared byte for byte. */
export interface HeldLock {
  readonly value: string
  /** Epoch seconds; from then on the file counts as unlocked. */
  readonly expiresAt: number
}

export type LockOperation =
  | { readonly type: 'lock'; readonly lock: string }
  /** Unlock and lock anew, in one step. */
  | { readonly type: 'relock'; readonly lock: string; readonly old: string }
  | { readonly type: 'refresh'; readonly lock: string }
  | { readonly type: 'unlock'; readonly lock: string }

export type LockDecision =
  /** From now on it is `held`; `undefined`: unlocked. */
  | { readonly granted: true; readonly held: HeldLock | undefined }
  /** Another lock is in the way, or none is there; `current` is `''` then. */
  | { readonly granted: false; readonly current: string }

const LOCK_SECONDS = 30 * 60

/** The lock that counts now. */
export function currentLock(held: HeldLock | undefined, now: number): string {
  return held !== undefined && held.expiresAt > now ? held.value : ''
}

/** The lock table of WOPI: what an operation does to the lock of a file. @param now epoch seconds */
export function decideLock(held: HeldLock | undefined, operation: LockOperation, now: number): LockDecision {
  const current = currentLock(held, now)
  const expected = operation.type === 'relock' ? operation.old : operation.lock
  const free = current === '' && operation.type === 'lock'
  if (current !== expected && !free) return { granted: false, current }
  if (operation.type === 'unlock') return { granted: true, held: undefined }
  return { granted: true, held: { value: operation.lock, expiresAt: now + LOCK_SECONDS } }
}

/** What the file was when an editor read it, or what it is now. */
export interface Reading {
  readonly etag?: string | undefined
  /** Epoch milliseconds. */
  readonly modified?: number | undefined
  readonly size?: number | undefined
}

/** Whether two readings are of the same content: by ETag, else by time and size. Nothing known is never the same. */
export function sameReading(a: Reading | undefined, b: Reading): boolean {
  if (a === undefined) return false
  if (a.etag !== undefined && b.etag !== undefined) return a.etag === b.etag
  return a.modified !== undefined && a.modified === b.modified && a.size === b.size
}

/** A save, and all that decides about it. */
export interface SaveQuestion {
  /** The lock that counts now; `''`: none. */
  readonly current: string
  /** `X-WOPI-Lock`. */
  readonly lock: string | undefined
  /** What is there now. */
  readonly now: Reading
  /** The `LastModifiedTime` of what is there now. */
  readonly lastModified: string | undefined
  /** What was last served to this token. */
  readonly seen: Reading | undefined
  /** The last save under this very lock, and what was said with it: of the same editing session, whoever’s token it came with. */
  readonly written: (Reading & { readonly timestamp?: string | undefined }) | undefined
  /** A save under this very lock was begun, its end is not known, and what is there now fits it. */
  readonly recovered: boolean
  /** `X-COOL-WOPI-Timestamp`: the `LastModifiedTime` that the editor knows. */
  readonly timestamp: string | undefined
  /** The person was asked, and chose to overwrite. */
  readonly overwrite: boolean
}

export type SaveVerdict =
  | {
      readonly type: 'write' /** Only while it is still this. */
      readonly ifMatch: string | undefined
      readonly adopts: boolean
    }
  | { readonly type: 'locked'; readonly current: string }
  /** Somebody else changed the file meanwhile. */
  | { readonly type: 'changed' }

/**
 * Whether a save may be written. An unlocked file is written when it is empty (it was just created), or when the editor brings
 * the lock that it believes to hold and nothing changed since it read (the lock is adopted then: ours was lost or expired).
 */
export function judgeSave(question: SaveQuestion): SaveVerdict {
  const { current, lock, now, overwrite } = question
  const unchanged = isUnchanged(question)
  const adopts = current === '' && lock !== undefined && (unchanged || overwrite)
  if (current === '' ? now.size !== 0 && lock === undefined : lock !== current) return { type: 'locked', current }
  if (overwrite) return { type: 'write', ifMatch: undefined, adopts }
  if (!unchanged && !(now.size === 0 && question.seen === undefined)) return { type: 'changed' }
  return { type: 'write', ifMatch: strong(now.etag), adopts }
}

/** Compared with what this token or this editing session knows, never with what another session has just read. */
function isUnchanged({ now, lastModified, seen, written, recovered, timestamp }: SaveQuestion): boolean {
  if (recovered) return true
  // Who says what it said with its last save has not heard the answer.
  if (timestamp !== undefined && timestamp === written?.timestamp && sameReading(written, now)) return true
  if (timestamp !== undefined && timestamp !== lastModified) return false
  if (sameReading(seen, now) || sameReading(written, now)) return true
  return seen === undefined && timestamp !== undefined
}

/** A weak ETag cannot be used with `If-Match` (RFC 9110 §13.1.1). */
function strong(etag: string | undefined): string | undefined {
  return etag?.startsWith('W/') ? undefined : etag
}
