/** Why the Sending Server did not do what was asked, in words that do not depend on its brand. */
export type ResourceFailure =
  /** We hold no access token for it (any more), or the server does not take it: a launch brings a newer one. */
  | 'token-ended'
  /** 403: this token may not do that. */
  | 'forbidden'
  | 'missing'
  /** 412: it is not what it was when it was read. */
  | 'changed'
  /** 405 or 409: something of that name is there already, or its folder is not. */
  | 'misplaced'
  /** 423 */
  | 'locked'
  /** 413 */
  | 'too-large'
  /** 507 */
  | 'full'
  /** Any other answer below 500. */
  | 'refused'
  /** No answer, a 5xx or a 429: later it may work. */
  | 'unreachable'

export class ResourceError extends Error {
  override readonly name = 'ResourceError'
  readonly failure: ResourceFailure
  /** HTTP status of the answer, when there was one. */
  readonly status: number | undefined

  constructor(failure: ResourceFailure, message: string, { status, cause }: { status?: number; cause?: unknown } = {}) {
    super(message, { cause })
    this.failure = failure
    this.status = status
  }
}

/** A file or folder as PROPFIND describes it (RFC 4918 §15). */
export interface Entry {
  /** Absolute; of a folder it ends in `/`. */
  readonly url: string
  /** Last segment of the URL, decoded. */
  readonly name: string
  readonly isFolder: boolean
  /** Bytes; `undefined` when the server does not say. */
  readonly size: number | undefined
  /** As sent, with its quotes, and `W/` when it is weak. */
  readonly etag: string | undefined
  /** Epoch milliseconds, of `getlastmodified`. */
  readonly modified: number | undefined
}

interface Reading {
  readonly size: number | undefined
  readonly etag: string | undefined
  readonly modified: number | undefined
  /** Read as it comes; who stops reading ends the exchange. @throws {ResourceError} */
  readonly body: AsyncIterable<Uint8Array>
}

interface WriteOptions {
  /** Bytes, when known: sent as `Content-Length`. */
  readonly size?: number | undefined
  /** A strong ETag, or `*`: written only while it is that. */
  readonly ifMatch?: string | undefined
  /** Written only when nothing is there. */
  readonly onlyNew?: boolean
  /** A lock token of `lock`. */
  readonly lockToken?: string | undefined
  readonly signal?: AbortSignal
}

/**
 * The `webdav` side of one share, as one person reaches it: every operation uses the newest access token of that person’s
 * launches. URLs are absolute and of the resource’s own origin; every other one is refused.
 *
 * All operations reject with a `ResourceError`. Nothing is retried.
 *
 * @see RFC 4918
 */
export interface SharedResource {
  /** What `protocol.webdav.uri` names, resolved. */
  readonly url: string
  /** @returns `undefined` when there is nothing */
  stat(url: string): Promise<Entry | undefined>
  /** The members of a folder (`Depth: 1`). */
  list(url: string): Promise<Entry[]>
  read(url: string, options?: { signal?: AbortSignal }): Promise<Reading>
  /** @returns the new ETag, when the server tells it */
  write(
    url: string,
    body: Uint8Array | AsyncIterable<Uint8Array>,
    options?: WriteOptions,
  ): Promise<{ etag: string | undefined }>
  makeFolder(url: string): Promise<void>
  remove(url: string, options?: { ifMatch?: string | undefined; lockToken?: string | undefined }): Promise<void>
  /** Never over something that exists. */
  move(from: string, to: string): Promise<void>
  /** An exclusive write lock, where the server has them. @returns the lock token; `undefined` when it has no locks */
  lock(url: string, options: { seconds: number; owner: string }): Promise<string | undefined>
  unlock(url: string, lockToken: string): Promise<void>
  /** The token of the lock that was taken with exactly this `owner`; `undefined`: there is none, or the server does not tell. */
  findLock(url: string, owner: string): Promise<string | undefined>
}

/**
 * The URL of something below a folder. Names are plain text, encoded here.
 *
 * @throws {ResourceError} `refused` for names that lead elsewhere
 */
export function childUrl(folder: string, ...names: readonly string[]): string {
  const base = folder.endsWith('/') ? folder : `${folder}/`
  return base + names.map(segmentOf).join('/')
}

/** The URL of something in the same folder as `url`. @throws {ResourceError} as `childUrl` */
export function siblingUrl(url: string, name: string): string {
  return url.replace(/[^/]*\/?$/, '') + segmentOf(name)
}

/** Dots stay dots when they are encoded: every reader of URLs takes them for steps. */
function segmentOf(name: string): string {
  if (['', '.', '..'].includes(name) || !name.isWellFormed())
    throw new ResourceError('refused', 'a name that leads elsewhere, or to nothing')
  return encodeURIComponent(name)
}
