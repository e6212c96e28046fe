/** Names one share everywhere: the Sending Server’s canonical authority, and its id for the share (opaque). */
export interface ShareKey {
  readonly senderDomain: string
  readonly shareId: string
}

/** A request of the back channel that was verified: what orders it among the others about the same share. */
export interface Applied {
  /** The signature’s `created`, epoch seconds. */
  readonly created: number
  /** A hash of the signature bytes: tells a repetition from another request of the same second. */
  readonly signature: string
}

export interface ShareRow extends ShareKey {
  readonly state: 'live'
  /** Random, given when the record is made; a replacement keeps it, a share made anew after its revocation does not. */
  readonly instance: string
  readonly created: number
  /** Epoch seconds; the row may be forgotten a day later. */
  readonly expiresAt: number | undefined
  /** JSON, not read by the store. */
  readonly data: string
}

export interface Tombstone extends ShareKey {
  readonly state: 'revoked'
  readonly revokedAt: number
}

/** `superseded`: a newer request, or this very one, was applied before, and this one must not undo what followed it. */
export type PutShare = 'stored' | 'replaced' | 'unchanged' | 'superseded' | 'full'
export type RevokeShare = 'revoked' | 'gone' | 'superseded'

/**
 * Shares and their tombstones. A promise that resolves is durable: `kill -9` a moment later loses nothing.
 * What is past its time counts as unknown, whether it was swept or not.
 */
export interface ShareStore {
  get(key: ShareKey): Promise<ShareRow | Tombstone | undefined>
  /**
   * Stores or replaces, atomically:
   * older than what was applied last → `superseded`; the same `created` and a signature that was applied already →
   * `unchanged` on a live row, `superseded` on a tombstone; a new row beyond `limit` live rows of the domain → `full`.
   * More than 32 different requests of one second → `superseded`.
   */
  put(row: ShareRow, applied: Applied, options: { limit: number }): Promise<PutShare>
  /**
   * Turns a row into a tombstone that is kept until `keepUntil` (epoch seconds). An unknown share leaves one too
   * (`gone`), unless the domain already has `limit` tombstones. Older than what was applied last → `superseded`.
   * A newer revocation of a tombstone counts as applied, and one that was applied already is repeated: both `gone`.
   * A live row is not revoked again by a signature that was applied before it → `superseded`.
   */
  revoke(
    key: ShareKey,
    applied: Applied,
    options: { now: number; keepUntil: number; limit: number },
  ): Promise<RevokeShare>
  /** Live rows of one domain. */
  count(senderDomain: string): Promise<number>
  /** Up to `limit` rows of one domain, tombstones too; for operators’ commands, not for the request path. */
  list(senderDomain: string, limit: number): Promise<(ShareRow | Tombstone)[]>
  /** Deletes tombstones past `keepUntil`, and rows that expired (or arrived expired) more than a day ago. */
  sweep(now: number): Promise<void>
}

/** One open share in one browser. The cookie’s value is known to the browser only; the row has its hash. */
export interface SessionRow extends ShareKey {
  readonly state: 'live'
  /** SHA-256 of the cookie value, base64url. */
  readonly idHash: string
  readonly webapp: string
  /** Epoch seconds: the hard limit, or idle timeout after the last use, whichever comes first. */
  readonly deadline: number
  /** JSON, not read by the store. */
  readonly data: string
}

/** What remains of a session for a day, so that its browser can be sent back. */
export interface EndedSession {
  readonly state: 'ended'
  readonly idHash: string
  readonly webapp: string
  /** Why it ended, a stable code: `revoked`, `expired`, `idle`, `logout`, `replaced`, … */
  readonly reason: string
  readonly endedAt: number
  /** JSON, not read by the store. */
  readonly data: string
}

/** Sessions and, until their `keepUntil`, what remains of them; from then on they are unknown, swept or not. */
export interface SessionStore {
  get(idHash: string): Promise<SessionRow | EndedSession | undefined>
  /** A new session under a new `idHash`. `full` when its sender domain already has `limit` live ones. */
  open(row: SessionRow, options: { limit: number }): Promise<'opened' | 'full'>
  /**
   * Replaces the row of a session that still lives and whose `data` is still `from`; `false` when it has ended (it is never
   * brought back) or was changed by someone else meanwhile. Tells `session.changed`.
   *
   * @param options.cut whether its open connections must come through the door again
   */
  update(row: SessionRow, from: string, options?: { cut: boolean }): Promise<boolean>
  /** Moves the deadline of a live session; no-op when it has ended. */
  touch(idHash: string, deadline: number): Promise<void>
  /**
   * Ends a live session and returns it; of several callers exactly one gets it. The remainder is kept until `keepUntil`.
   * Tells `session.ended`.
   */
  end(ended: EndedSession, options: { keepUntil: number }): Promise<SessionRow | undefined>
  /** Live sessions of one share. */
  ofShare(key: ShareKey): Promise<SessionRow[]>
  /** Up to `limit` live sessions whose deadline has passed, oldest first. */
  due(now: number, limit: number): Promise<SessionRow[]>
  /** Of every live session its `idHash`; for a look at all of them, not for the request path. */
  ids(): Promise<string[]>
  /** Live sessions of one webapp. */
  count(webapp: string): Promise<number>
  /** Deletes ended sessions past their `keepUntil`. */
  sweep(now: number): Promise<void>
}

/** Something an app kind started for a share (a notebook server), so that it can be stopped after a crash too. */
export interface Workload extends ShareKey {
  readonly webapp: string
  /** The app’s own name for it, unique per webapp. */
  readonly name: string
  /** JSON, not read by the store. */
  readonly data: string
}

/** Workloads. `put` and `delete` tell `workload.changed`. */
export interface WorkloadStore {
  put(workload: Workload): Promise<void>
  get(webapp: string, name: string): Promise<Workload | undefined>
  delete(webapp: string, name: string): Promise<void>
  /** All of one webapp; for sweeps, not for the request path. */
  list(webapp: string): Promise<Workload[]>
}

/** A small thing that a room must remember under a name: a kept token, a lock, a change that waits. */
export interface Note {
  /** What it is: the words of the room that keeps it. */
  readonly space: string
  /** Unique in its space; plain ASCII. */
  readonly id: string
  /** Text, not read by the store. */
  readonly data: string
  /** Epoch seconds: unknown from then on, swept or not. */
  readonly expiresAt: number | undefined
}

/** Notes. A promise that resolves is durable. */
export interface NoteStore {
  get(space: string, id: string): Promise<Note | undefined>
  put(note: Note): Promise<void>
  /** Puts it when what is there is still `from` (its `data`; `undefined`: nothing is there); `false` otherwise. */
  replace(note: Note, from: string | undefined): Promise<boolean>
  delete(space: string, id: string): Promise<void>
  /** Those whose id begins with `prefix`, in the order of their ids, up to `limit`. */
  list(space: string, prefix: string, limit: number): Promise<Note[]>
  /** Deletes what has expired. */
  sweep(now: number): Promise<void>
}

/** What every process on the same store hears of a session or a workload, from the very operation that ended or changed it. */
export type BusMessage =
  | { readonly type: 'session.ended'; readonly idHash: string; readonly reason: string }
  | { readonly type: 'session.changed'; readonly idHash: string; readonly cut: boolean }
  /** It may also be new, be gone, or never have been there. */
  | { readonly type: 'workload.changed'; readonly webapp: string; readonly name: string }
  /** Messages may have been lost, and may be until `hearing` says otherwise: what is known of anything may be from before. */
  | { readonly type: 'missed' }
  /** The store had lost this share for a while, maybe, and has it again: its sessions may not fit it. Told in one process. */
  | ({ readonly type: 'share.again' } & ShareKey)

/**
 * Tells what happens to sessions and workloads. When the operation resolves that did it, every listener of every process
 * has heard of it, or knows that it hears nothing.
 */
export interface Bus {
  /** Whether this process hears everything. While it does not, only the store knows what is. */
  hearing(): boolean
  /**
   * Resolves when every listener of every process has heard what was told before, by whomever, or knows that it hears
   * nothing.
   */
  settled(): Promise<void>
  /** The listener must not throw. Returns the function that unsubscribes. */
  subscribe(listener: (message: BusMessage) => void): () => void
}

/**
 * What must outlive a process. Every implementation passes `test/contract/store.ts`.
 * All operations reject with an `unavailable` GatewayError (503, reason `store_unavailable`) when the store cannot answer;
 * "missing" and "cannot tell" are never the same answer.
 */
export interface Store {
  readonly shares: ShareStore
  readonly sessions: SessionStore
  readonly workloads: WorkloadStore
  readonly notes: NoteStore
  readonly bus: Bus
  /** Runs `work` while no other holder of the same name runs, in any process. A holder that dies frees it after `ttlSeconds`. */
  lock<T>(name: string, ttlSeconds: number, work: () => Promise<T>): Promise<T>
  /** Resolves when the store answers. */
  ping(): Promise<void>
  close(): Promise<void>
}
