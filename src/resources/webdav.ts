import { html } from '../core/html.ts'
import { type Exchange, type Outbound, OutboundError } from '../core/outbound.ts'
import type { Secret } from '../core/secret.ts'
import { readLocks } from './lock-discovery.ts'
import { readEtag, readMultistatus } from './multistatus.ts'
import { type Entry, ResourceError, type ResourceFailure, type SharedResource } from './resource.ts'

const SILENCE_SECONDS = 60
const MAX_LISTING_BYTES = 16 * 1024 * 1024
const MAX_REMAINS_BYTES = 64 * 1024

const PROPERTIES = Buffer.from(
  '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getetag/><getlastmodified/></prop></propfind>',
)

const LOCKS = Buffer.from(
  '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><lockdiscovery/></prop></propfind>',
)

const FAILURES: Readonly<Record<number, ResourceFailure>> = {
  401: 'token-ended',
  403: 'forbidden',
  404: 'missing',
  405: 'misplaced',
  408: 'unreachable',
  409: 'misplaced',
  410: 'missing',
  412: 'changed',
  413: 'too-large',
  423: 'locked',
  425: 'unreachable',
  429: 'unreachable',
  507: 'full',
}

export interface WebdavParts {
  readonly url: string
  readonly outbound: Outbound
  /** The operator named this server, so it may be on a private network. */
  readonly operatorNamed: boolean
  /** Asked for every request: a newer token replaces an older one meanwhile. */
  readonly token: () => Promise<Secret | undefined>
}

type Request = Omit<Exchange, 'headers'> & { readonly headers?: Readonly<Record<string, string | undefined>> }
type Answer = Awaited<ReturnType<Outbound['exchange']>>

/** A WebDAV server reached with bearer tokens (RFC 4918, RFC 6750). */
export function createWebdav({ url, outbound, operatorNamed, token }: WebdavParts): SharedResource {
  const { origin } = new URL(url)

  async function exchange(target: string, request: Request): Promise<Answer> {
    if (new URL(target).origin !== origin) throw new ResourceError('refused', `${target} is not at ${origin}`)
    const bearer = await token()
    if (bearer === undefined) throw new ResourceError('token-ended', 'there is no access token')
    const headers = defined({ ...request.headers, authorization: `Bearer ${bearer.reveal()}` })
    try {
      return await outbound.exchange(
        target,
        { ...request, headers },
        { operatorNamed, silenceSeconds: SILENCE_SECONDS },
      )
    } catch (error) {
      throw unreachable(error)
    }
  }

  /** @throws {ResourceError} for every status that is not expected */
  async function expect(target: string, request: Request, ...expected: readonly number[]): Promise<Answer> {
    const answer = await exchange(target, request)
    if (expected.includes(answer.status)) return answer
    await discard(answer)
    throw failed(request.method, answer.status)
  }

  async function done(target: string, request: Request, ...expected: readonly number[]): Promise<Answer> {
    const answer = await expect(target, request, ...expected)
    await discard(answer)
    return answer
  }

  async function propfind(target: string, depth: '0' | '1'): Promise<Entry[]> {
    const headers = { depth, 'content-type': 'application/xml', accept: 'application/xml' }
    const answer = await expect(target, { method: 'PROPFIND', headers, body: PROPERTIES }, 207, 301, 302, 307, 308)
    if (answer.status === 207) return entries(answer, target)
    await discard(answer)
    // Some servers want a folder’s URL with its slash.
    if (target.endsWith('/') || !samePath(answer.headers.location, `${target}/`))
      throw failed('PROPFIND', answer.status)
    return propfind(`${target}/`, depth)
  }

  return {
    url,

    async stat(target) {
      try {
        const found = await propfind(target, '0')
        return found.find((entry) => samePath(entry.url, target))
      } catch (error) {
        if (error instanceof ResourceError && error.failure === 'missing') return undefined
        throw error
      }
    },

    async list(target) {
      const folder = target.endsWith('/') ? target : `${target}/`
      const members = await propfind(folder, '1')
      const parent = plainPath(new URL(folder))
      return members.filter((entry) => isMember(entry, parent))
    },

    async read(target, { signal } = {}) {
      const { headers, body } = await expect(target, { method: 'GET', signal }, 200)
      const modified = Date.parse(String(headers['last-modified']))
      const size = Number(headers['content-length'] ?? Number.NaN)
      return {
        size: Number.isNaN(size) ? undefined : size,
        etag: readEtag(headers.etag),
        modified: Number.isNaN(modified) ? undefined : modified,
        body: readable(body),
      }
    },

    async write(target, body, { size, ifMatch, onlyNew, lockToken, signal } = {}) {
      const length = body instanceof Uint8Array ? body.length : size
      const headers = {
        'content-type': 'application/octet-stream',
        'content-length': length === undefined ? undefined : String(length),
        'if-match': ifMatch,
        'if-none-match': onlyNew ? '*' : undefined,
        if: lockToken && `(<${lockToken}>)`,
      }
      const { headers: answered } = await done(target, { method: 'PUT', headers, body, signal }, 200, 201, 204)
      return { etag: readEtag(answered.etag) }
    },

    async makeFolder(target) {
      await done(target, { method: 'MKCOL' }, 201)
    },

    async remove(target, { ifMatch, lockToken } = {}) {
      const headers = { 'if-match': ifMatch, if: lockToken && `(<${lockToken}>)` }
      await done(target, { method: 'DELETE', headers }, 200, 204)
    },

    async move(from, to) {
      if (new URL(to).origin !== origin) throw new ResourceError('refused', `${to} is not at ${origin}`)
      await done(from, { method: 'MOVE', headers: { destination: to, overwrite: 'F' } }, 201, 204)
    },

    async lock(target, { seconds, owner }) {
      const body = Buffer.from(
        `${html`<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype><owner>${owner}</owner></lockinfo>`}`,
      )
      const headers = { timeout: `Second-${seconds}`, depth: '0', 'content-type': 'application/xml' }
      const answer = await exchange(target, { method: 'LOCK', headers, body })
      await discard(answer)
      if (answer.status === 200 || answer.status === 201)
        return /<([^>]+)>/.exec(String(answer.headers['lock-token']))?.[1]
      if ([405, 501].includes(answer.status)) return undefined
      throw failed('LOCK', answer.status)
    },

    async unlock(target, lockToken) {
      await done(target, { method: 'UNLOCK', headers: { 'lock-token': `<${lockToken}>` } }, 200, 204)
    },

    async findLock(target, owner) {
      const headers = { depth: '0', 'content-type': 'application/xml', accept: 'application/xml' }
      const answer = await expect(target, { method: 'PROPFIND', headers, body: LOCKS }, 207)
      const locks = await readLocks(await text(answer.body))
      return locks.find((lock) => lock.owner === owner)?.token
    },
  }
}

function defined(headers: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const entries = Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return Object.fromEntries(entries)
}

async function entries({ body }: Answer, target: string): Promise<Entry[]> {
  const xml = await text(body)
  try {
    return await readMultistatus(xml, target)
  } catch (cause) {
    throw new ResourceError('refused', `PROPFIND: the answer is no multistatus`, { status: 207, cause })
  }
}

async function text(body: Answer['body']): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of readable(body)) {
    size += chunk.length
    if (size > MAX_LISTING_BYTES)
      throw new ResourceError('refused', `the listing is larger than ${MAX_LISTING_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Reads a little, so that the connection can be used again; ends it when there is more. */
async function discard({ body }: Answer): Promise<void> {
  let size = 0
  try {
    for await (const chunk of body) {
      size += chunk.length
      if (size > MAX_REMAINS_BYTES) break
    }
  } catch {
    // The status has told already what there is to know.
  }
}

async function* readable(body: Answer['body']): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (error) {
    throw unreachable(error)
  }
}

function unreachable(error: unknown): unknown {
  if (!(error instanceof OutboundError)) return error
  return new ResourceError('unreachable', error.message, { cause: error })
}

function failed(method: string, status: number): ResourceError {
  const failure = FAILURES[status] ?? (status >= 500 ? 'unreachable' : 'refused')
  return new ResourceError(failure, `${method} was answered ${status}`, { status })
}

/** The same resource: percent-encoding and a slash at the end do not count. */
function samePath(a: unknown, b: string): boolean {
  if (typeof a !== 'string' || !URL.canParse(a, b)) return false
  return plainPath(new URL(a, b)) === plainPath(new URL(b))
}

function plainPath({ origin, pathname }: URL): string {
  const segments = pathname.replace(/\/$/, '').split('/')
  return origin + segments.map((segment) => safelyDecoded(segment)).join('/')
}

function safelyDecoded(segment: string): string {
  try {
    return encodeURIComponent(decodeURIComponent(segment))
  } catch {
    return segment
  }
}

/** Directly below the folder: a server may not make us reach for anything else. @param parent the folder’s plain path */
function isMember({ url }: Entry, parent: string): boolean {
  const path = plainPath(new URL(url))
  return path.slice(0, path.lastIndexOf('/')) === parent
}
