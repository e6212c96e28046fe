import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { buildConnector, type Dispatcher, Pool } from 'undici'
import type { Awaitable } from '../core/awaitable.ts'
import { badGateway, type GatewayError, gatewayTimeout } from '../core/errors.ts'

/** Bytes of an answer that are held for a client that is slower than the app. */
const HELD_MAX = 256 * 1024
/** Up to so many bytes a body costs less when it is written together with its headers, as one text, than after them. */
const SMALL_BODY_MAX = 16 * 1024

/** How one app is reached. */
export interface UpstreamOptions {
  readonly url: string
  /** Seconds. */
  readonly timeouts: { readonly connect: number; readonly response: number; readonly idle: number }
}

/** One request, decided upon. */
export interface Forwarding {
  readonly method: string
  /** In place of the client’s own. */
  readonly body: Buffer | undefined
  /** Path and query as the app gets them. */
  readonly path: string
  /** name, value, name, value. */
  readonly headers: string[]
  /** Name, value, name, value, as received and as sent. The body waits for a promise. */
  readonly responseHeaders: (raw: readonly string[]) => Awaitable<string[]>
  /** Called once: the listener is told when the client’s connection, or its request, is over. */
  readonly onClose: (listener: () => void) => void
}

/**
 * One app’s connections: kept alive, streamed both ways with backpressure. Trailers and 1xx answers end here.
 */
export function createUpstream({ url, timeouts }: UpstreamOptions) {
  const { origin, hostname } = new URL(url)
  const connect = buildConnector({ timeout: timeouts.connect * 1000, allowH2: false })
  const pool = new Pool(origin, {
    // Its certificate is about its own name, not about the public one that our Host header says.
    connect: (options, callback) => connect({ ...options, servername: serverName(hostname) }, callback),
    headersTimeout: timeouts.response * 1000,
    bodyTimeout: timeouts.idle * 1000,
    pipelining: 1,
    allowH2: false,
  })

  return {
    /**
     * Sends a request to the app and its answer to the client.
     *
     * @returns the status that was sent
     * @throws {GatewayError} 502 or 504 while nothing was sent yet; later failures cut the client’s connection, so that a
     * half answer is never taken for a whole one
     */
    request(req: IncomingMessage, res: ServerResponse, forwarding: Forwarding): Promise<number> {
      return new Promise((resolve, reject) => {
        const exchange = new Exchange(res, forwarding, resolve, reject)
        const { path, method, headers } = forwarding
        const body = forwarding.body ?? (hasBody(req) ? req : null)
        pool.dispatch({ path, method: method as Dispatcher.HttpMethod, headers, body }, exchange)
      })
    },
    /** Waits for what is under way. */
    close: () => pool.close(),
  }
}

/** What TLS asks for and verifies (RFC 6066 §3): a name; an address is none, and is verified all the same. */
export function serverName(hostname: string): string | undefined {
  return isIP(hostname.replace(/^\[|\]$/g, '')) === 0 ? hostname : undefined
}

/** RFC 9112 §6.3: a request has a body when it says so. */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}

/** A reason phrase that can be sent; it has no meaning, so that any other is left out (RFC 9112 §4). */
export function sendableReason(message: string): string {
  return /^[\t\x20-\x7e]*$/.test(message) ? message : ''
}

/** One exchange with the app, written to the client as it comes. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #res: ServerResponse
  readonly #responseHeaders: Forwarding['responseHeaders']
  readonly #resolve: (status: number) => void
  readonly #reject: (error: GatewayError) => void
  #controller: Dispatcher.DispatchController | undefined
  #done = false
  /** The app has begun its answer, and nothing of the body has come yet. */
  #silent = false
  /** Bytes of the body that are still to come; `NaN` when the app does not say how many. */
  #missing = Number.NaN

  constructor(
    res: ServerResponse,
    { responseHeaders, onClose }: Forwarding,
    resolve: (status: number) => void,
    reject: (error: GatewayError) => void,
  ) {
    this.#res = res
    this.#responseHeaders = responseHeaders
    this.#resolve = resolve
    this.#reject = reject
    onClose(() => this.#clientGone())
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#res.closed) this.#clientGone()
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
    message = '',
  ): void {
    if (status < 200) return
    const sent = this.#responseHeaders(flat(headers))
    if (sent instanceof Promise)
      this.#startLater(controller, sent, (list) => this.#start(status, headers, message, list))
    else this.#start(status, headers, message, sent)
  }

  #startLater(
    controller: Dispatcher.DispatchController,
    headers: Promise<string[]>,
    start: (headers: string[]) => void,
  ): void {
    controller.pause()
    headers.then(start).then(
      () => controller.resume(),
      (error) => controller.abort(error),
    )
  }

  #start(status: number, headers: IncomingHttpHeaders, message: string, sent: string[]): void {
    if (this.#res.closed) return
    this.#res.writeHead(status, sendableReason(message), sent)
    this.#missing = Number(headers['content-length'])
    this.#silent = true
    // Node holds the headers back for the first bytes of the body, which an event stream may send much later.
    process.nextTick(Exchange.#flushHeaders, this)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#silent = false
    this.#missing -= chunk.length
    if (this.#missing === 0) this.#endWith(chunk)
    else if (!this.#res.write(chunk) && this.#res.writableLength > HELD_MAX) {
      controller.pause()
      this.#res.once('drain', () => controller.resume())
    }
  }

  #endWith(chunk: Buffer): void {
    if (chunk.length > SMALL_BODY_MAX) this.#res.end(chunk)
    else this.#res.end(chunk.toString('latin1'), 'latin1')
  }

  onResponseEnd(): void {
    this.#done = true
    this.#silent = false
    if (!this.#res.writableEnded) this.#res.end()
    this.#resolve(this.#res.statusCode)
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#done) return
    this.#done = true
    if (!this.#res.headersSent) this.#reject(failure(error))
    else {
      this.#res.destroy()
      this.#resolve(this.#res.statusCode)
    }
  }

  static #flushHeaders(exchange: Exchange): void {
    if (exchange.#silent) exchange.#res.flushHeaders()
  }

  #clientGone(): void {
    if (this.#done) return
    this.#controller?.abort(new Error('the client went away'))
  }
}

/** name, value, name, value; the values of one name stay separate lines. */
function flat(headers: IncomingHttpHeaders): string[] {
  const list: string[] = []
  for (const name in headers) {
    const value = headers[name]
    if (typeof value === 'string') list.push(name, value)
    else for (const each of value ?? []) list.push(name, each)
  }
  return list
}

/** A transport error of the app’s side as what the person should know. */
export function failure(error: Error): GatewayError {
  const code = (error as NodeJS.ErrnoException).code ?? ''
  const details = { cause: error, detail: { code, message: error.message } }
  if (/TIMEOUT|ETIMEDOUT/.test(code))
    return gatewayTimeout('upstream_timeout', 'The application did not answer in time.', details)
  return badGateway('upstream_unreachable', 'The application does not answer.', details)
}

const LINGER_MS = 1000

/** An HTTP answer in place of an upgrade; the connection ends with it. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string,
): void {
  if (socket.destroyed) return
  const lines = Object.entries({ ...headers, 'content-length': String(Buffer.byteLength(body)), connection: 'close' })
  socket.end(
    `HTTP/1.1 ${status} Refused\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`,
  )
  linger(socket)
}

/** A client that still sends would lose the answer to a reset; one that does not hang up is not waited for. */
export function linger(socket: Duplex): void {
  socket.resume()
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
}
