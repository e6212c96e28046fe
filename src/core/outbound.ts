import { lookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { Readable } from 'node:stream'
import { Agent, Headers, type RequestInit, type Response, fetch as undiciFetch } from 'undici'
import { isLoopbackHost } from './loopback.ts'
import { asking, type Tracing } from './tracing.ts'

/** The outgoing request failed: a technical fault of the peer or the network, never a verdict about a credential. */
export class OutboundError extends Error {
  override readonly name = 'OutboundError'
}

export interface OutboundRequest {
  /** Whole exchange, body included. */
  readonly timeoutSeconds: number
  readonly maxBytes: number
  /** The operator named this host, so it may be on a private network. Otherwise private and link-local addresses are refused. */
  readonly operatorNamed: boolean
}

export interface Exchange {
  readonly method: 'GET' | 'PUT' | 'DELETE' | 'PROPFIND' | 'MKCOL' | 'MOVE' | 'LOCK' | 'UNLOCK'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>
  readonly signal?: AbortSignal | undefined
}

export interface ExchangeLimits extends Pick<OutboundRequest, 'operatorNamed'> {
  readonly silenceSeconds: number
}

export type Outbound = ReturnType<typeof createOutbound>

const PRIVATE_RANGES: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
  ['::', 96],
  ['::ffff:0:0', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
]

/** One list a family: in a common one, `::ffff:0:0/96` matches every IPv4 address. */
const privateAddresses = { ipv4: new BlockList(), ipv6: new BlockList() }
for (const [address, prefix] of PRIVATE_RANGES) {
  const family = familyOf(address)
  privateAddresses[family].addSubnet(address, prefix, family)
}

/** Addresses that mean something only inside our own network (RFC 6890 and kin); the target of SSRF. */
export function isPrivateAddress(address: string): boolean {
  const family = familyOf(address)
  return privateAddresses[family].check(address, family)
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}

/**
 * Requests to other servers: time limit, size limit, redirects on the same origin only, and an address guard that
 * connects to the very address it has checked.
 *
 * @param insecureLoopback accept http, self-signed certificates and loopback addresses for loopback host names
 */
export function createOutbound({
  insecureLoopback,
  tracing,
}: {
  insecureLoopback: boolean
  tracing?: Tracing | undefined
}) {
  const agents = {
    open: new Agent({ connect: { lookup: lookupWith(() => true) } }),
    guarded: new Agent({ connect: { lookup: lookupWith((address) => !isPrivateAddress(address)) } }),
    loopback: new Agent({ connect: { lookup: lookupWith(() => true), rejectUnauthorized: false } }),
  }

  function agentFor(url: URL, operatorNamed: boolean): Agent {
    const hostname = url.hostname.replace(/^\[|\]$/g, '')
    const localTest = insecureLoopback && isLoopbackHost(hostname)
    if (url.protocol !== 'https:' && !(url.protocol === 'http:' && (localTest || operatorNamed))) {
      throw new OutboundError(`${url.origin} is not https`)
    }
    if (localTest) return agents.loopback
    if (operatorNamed) return agents.open
    if (isIP(hostname) !== 0 && isPrivateAddress(hostname)) throw new OutboundError(`${hostname} is a private address`)
    return agents.guarded
  }

  async function follow(
    url: URL,
    init: RequestInit,
    limits: Pick<OutboundRequest, 'operatorNamed'>,
    hops: number,
  ): Promise<Response> {
    const dispatcher = agentFor(url, limits.operatorNamed)
    const span = { name: `${init.method ?? 'GET'} ${url.host}`, 'server.address': url.host }
    const response = await asking(tracing, span, (traced) =>
      undiciFetch(url, { ...init, headers: joined(init.headers, traced), redirect: 'manual', dispatcher }),
    )
    const location = response.headers.get('location')
    if (response.status < 301 || response.status > 308 || response.status === 304 || location === null) return response
    const next = new URL(location, url)
    if (next.origin !== url.origin || hops === 0 || (init.method ?? 'GET') !== 'GET') {
      throw new OutboundError(`${url.origin} redirects to ${next.origin}`)
    }
    await response.body?.cancel()
    return follow(next, init, limits, hops - 1)
  }

  /**
   * One exchange, the body read whole.
   *
   * @throws {OutboundError} no answer in time, a body beyond `maxBytes`, a refused address or redirect
   */
  async function request(
    url: string,
    init: RequestInit,
    limits: OutboundRequest,
  ): Promise<{ status: number; headers: Headers; body: Buffer }> {
    const signal = AbortSignal.timeout(limits.timeoutSeconds * 1000)
    try {
      const response = await follow(new URL(url), { ...init, signal }, limits, 3)
      return {
        status: response.status,
        headers: response.headers as unknown as Headers,
        body: await readLimited(response, limits.maxBytes),
      }
    } catch (error) {
      throw asOutboundError(error)
    }
  }

  /**
   * One exchange, the body read as it comes; who stops reading ends it.
   *
   * @param init its `signal` is the only time limit
   * @throws {OutboundError} as `request`, also while the body is read; there is no size limit
   */
  async function stream(
    url: string,
    init: RequestInit & { signal: AbortSignal },
    limits: Pick<OutboundRequest, 'operatorNamed'>,
  ): Promise<{ status: number; headers: Headers; body: AsyncIterable<Uint8Array> }> {
    try {
      const response = await follow(new URL(url), init, limits, 3)
      return { status: response.status, headers: response.headers as unknown as Headers, body: chunksOf(response) }
    } catch (error) {
      throw asOutboundError(error)
    }
  }

  /**
   * One exchange, both bodies as they come. No redirect is followed, nothing is decompressed.
   *
   * @throws {OutboundError} as `request`; also when nothing moved in either direction for `silenceSeconds`
   */
  async function exchange(url: string, sent: Exchange, { operatorNamed, silenceSeconds }: ExchangeLimits) {
    const silence = watchSilence(silenceSeconds)
    try {
      const target = new URL(url)
      const { origin, pathname, search, host } = target
      const { method, headers, body } = sent
      const response = await asking(tracing, { name: `${method} ${host}`, 'server.address': host }, (traced) =>
        agentFor(target, operatorNamed).request({
          origin,
          path: pathname + search,
          method,
          headers: { ...headers, ...traced },
          body: body === undefined || body instanceof Uint8Array ? (body ?? null) : Readable.from(silence.watch(body)),
          signal: sent.signal === undefined ? silence.signal : AbortSignal.any([sent.signal, silence.signal]),
          headersTimeout: 0,
          bodyTimeout: 0,
        }),
      )
      silence.heard()
      return { status: response.statusCode, headers: response.headers, body: silence.watch(response.body, true) }
    } catch (error) {
      silence.end()
      throw asOutboundError(error)
    }
  }

  return {
    request,
    stream,
    exchange,
    /** GET of a JSON document. @throws {OutboundError} also when the status is not 200 or the body is not JSON */
    async getJson(url: string, limits: OutboundRequest): Promise<unknown> {
      const { status, body } = await request(url, { headers: { accept: 'application/json' } }, limits)
      if (status !== 200) throw new OutboundError(`${url} answered ${status}`)
      try {
        return JSON.parse(body.toString('utf8'))
      } catch (cause) {
        throw new OutboundError(`${url} did not answer JSON`, { cause })
      }
    },
    /** Cuts what is under way. */
    async destroy() {
      await Promise.all(Object.values(agents).map((agent) => agent.destroy()))
    },
    /** Waits for what is under way. */
    async close() {
      await Promise.all(Object.values(agents).map((agent) => agent.close()))
    },
  }
}

function joined(headers: RequestInit['headers'], more: Readonly<Record<string, string>>): Headers {
  const all = new Headers(headers)
  for (const [name, value] of Object.entries(more)) all.set(name, value)
  return all
}

function asOutboundError(error: unknown): OutboundError {
  if (error instanceof OutboundError) return error
  const { message, cause } = error as Error
  return new OutboundError(cause instanceof Error ? `${message}: ${cause.message}` : message, { cause: error })
}

/** Ends an exchange in which nothing moves any more. */
function watchSilence(seconds: number) {
  const controller = new AbortController()
  const abort = () => controller.abort(new OutboundError(`nothing came for ${seconds} seconds`))
  const timer = setTimeout(abort, seconds * 1000)
  const end = () => clearTimeout(timer)
  return {
    signal: controller.signal,
    heard: () => void timer.refresh(),
    end,
    /** The same chunks; `last`: the exchange is over when they are. */
    async *watch(chunks: AsyncIterable<Uint8Array>, last = false): AsyncGenerator<Uint8Array> {
      try {
        for await (const chunk of chunks) {
          timer.refresh()
          yield chunk
        }
      } catch (error) {
        throw last ? asOutboundError(error) : error
      } finally {
        if (last) end()
      }
    },
  }
}

async function* chunksOf({ body }: Response): AsyncGenerator<Uint8Array> {
  try {
    yield* body ?? []
  } catch (error) {
    throw asOutboundError(error)
  }
}

async function readLimited(response: Response, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > maxBytes) throw new OutboundError(`the answer is larger than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** A DNS lookup that answers only with addresses `allowed` accepts; `*.localhost` is this machine (RFC 6761 §6.3). */
function lookupWith(allowed: (address: string) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    const name = hostname.endsWith('.localhost') ? 'localhost' : hostname
    lookup(name, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '')
      const [first, ...rest] = addresses.filter(({ address }) => allowed(address))
      if (first === undefined) return callback(new OutboundError(`${hostname} has only private addresses`), '')
      if (options.all) return callback(null, [first, ...rest])
      callback(null, first.address, first.family)
    })
  }
}
