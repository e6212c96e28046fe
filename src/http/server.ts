import { randomBytes } from 'node:crypto'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { AddressInfo, BlockList } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Express } from 'express'
import type { Awaitable } from '../core/awaitable.ts'
import { asGatewayError, GatewayError, notFound } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import type { Tracing } from '../core/tracing.ts'
import { checkSingleHeaders } from '../proxy/request-headers.ts'
import { checkMethod, parseTarget, type Target } from '../proxy/target.ts'
import { checkHandshake } from '../proxy/websocket.ts'
import { clientOf } from './client.ts'
import { setContext } from './context.ts'
import { acceptsHtml } from './cross-site.ts'
import { errorPage } from './pages/message-page.ts'
import type { Place, Places } from './places.ts'
import type { Proxying } from './proxying.ts'
import { refuseWith } from './refuse.ts'
import { PROBLEM_JSON, problem, refusalHeaders, sendJson, sendPage } from './send.ts'

const HEADERS_SECONDS = 30
const CHECKING_SECONDS = 5
const MAX_HEADER_BYTES = 32 * 1024

/** What answers requests; a reload of the configuration replaces it as a whole. */
export interface Front {
  readonly places: Places
  readonly own: Express
  readonly proxying: ReadonlyMap<string, Proxying>
  readonly trustedProxies: BlockList
  /** Seconds for the whole of a request to our own endpoints. */
  readonly requestTimeout: number
}

interface Arrival {
  readonly requestId: string
  readonly target: Target
  readonly place: Place
}

/** The public listener’s request and upgrade handlers. `front` is asked for every request anew. */
export function createPublicHandlers(front: () => Front, events: Events, tracing?: Tracing) {
  function arrive(req: IncomingMessage, requestId: string): Arrival {
    checkMethod(req.method ?? '')
    checkSingleHeaders(req.rawHeaders)
    const target = parseTarget(req.url ?? '')
    const place = front().places.find(req.headers.host, target)
    tracing?.describe(...tracedAs(req, requestId, place))
    return { requestId, target, place }
  }

  function appContext(req: IncomingMessage, { requestId, target }: Arrival, scope: string) {
    return { requestId, target, scope, client: clientOf(req, front().trustedProxies) }
  }

  function proxyingAt(place: Extract<Place, { kind: 'app' | 'outside' | 'host' }>): Proxying {
    const proxying = front().proxying.get(place.site.app.webapp.name)
    if (proxying === undefined) throw notFound('no_such_page', 'There is nothing at this address.')
    return proxying
  }

  function answer(req: IncomingMessage, res: ServerResponse, requestId: string): Awaitable<unknown> {
    const arrival = arrive(req, requestId)
    const { place } = arrival
    if (place.kind === 'own') return answerOurselves(req, res, arrival, place)
    if (place.kind === 'host') return proxyingAt(place).host(req, res, appContext(req, arrival, place.site.base))
    if (place.kind === 'outside')
      return proxyingAt(place).withoutSession(req, res, appContext(req, arrival, place.site.base))
    return proxyingAt(place).request(req, res, appContext(req, arrival, place.scope))
  }

  function answerOurselves(
    req: IncomingMessage,
    res: ServerResponse,
    { requestId, target }: Arrival,
    place: Extract<Place, { kind: 'own' }>,
  ): void {
    const { own, requestTimeout, trustedProxies } = front()
    const client = clientOf(req, trustedProxies)
    setContext(req, {
      requestId,
      client,
      target,
      place,
      frameAncestors: ['*'],
      returnUri: undefined,
      senderDomain: undefined,
      shareId: undefined,
    })
    if (!req.readableEnded) limitBody(req, requestTimeout)
    req.url = `/${place.operation}`
    own(req, res)
  }

  async function upgrade(req: IncomingMessage, socket: Duplex, head: Buffer, requestId: string): Promise<void> {
    const arrival = arrive(req, requestId)
    checkHandshake(req)
    const { place } = arrival
    if (place.kind !== 'app') throw notFound('no_such_page', 'There is no WebSocket at this address.')
    await proxyingAt(place).upgrade(req, socket, head, appContext(req, arrival, place.scope))
  }

  function reportRefusal(error: GatewayError, req: IncomingMessage, requestId: string): void {
    const { reason, status, message, detail, cause } = error
    if (status === 500) events.unexpected({ requestId, where: 'request', err: cause ?? error })
    else if (status >= 502 && reason.startsWith('upstream_'))
      events.upstreamFailed({ requestId, reason, status, message, detail })
    else
      events.requestRefused({
        requestId,
        reason,
        status,
        message,
        detail,
        method: req.method ?? '',
        host: req.headers.host?.slice(0, 300),
      })
  }

  const serve = (req: IncomingMessage, res: ServerResponse): void => {
    const requestId = newRequestId()
    const failed = (thrown: unknown) => {
      const error = asGatewayError(thrown)
      reportRefusal(error, req, requestId)
      refuse(req, res, error, requestId)
    }
    try {
      const answered = answer(req, res, requestId)
      if (answered instanceof Promise) answered.catch(failed)
    } catch (thrown) {
      failed(thrown)
    }
  }

  const onRequest: RequestListener = (req, res) => {
    if (tracing === undefined) return serve(req, res)
    const span = tracing.serving(req.headers, { 'http.request.method': req.method ?? '' })
    res.once('close', () => span.end({ 'http.response.status_code': res.statusCode }))
    span.run(() => serve(req, res))
  }

  async function serveUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const requestId = newRequestId()
    socket.on('error', destroyIt)
    await upgrade(req, socket, head, requestId).catch((thrown: unknown) => {
      const error = asGatewayError(thrown)
      reportRefusal(error, req, requestId)
      refuseWith(socket, error, requestId)
    })
  }

  /** The span of a WebSocket is its handshake, not its life. */
  const onUpgrade = (req: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const span = tracing?.serving(req.headers, { 'http.request.method': 'GET' })
    if (span === undefined) void serveUpgrade(req, socket, head)
    else void span.run(() => serveUpgrade(req, socket, head)).finally(() => span.end())
  }

  return { onRequest, onUpgrade }
}

/** The name and attributes of a request’s span: as few different ones as there are webapps and operations. */
function tracedAs({ method, headers }: IncomingMessage, requestId: string, place: Place) {
  const what = place.kind === 'own' ? place.operation : place.kind === 'app' && headers.upgrade ? 'WebSocket' : 'app'
  const webapp = place.site?.app.webapp.name
  const name = [method, what, webapp].filter((word) => word !== undefined).join(' ')
  return [name, { 'ocm.request_id': requestId, ...(webapp && { 'ocm.webapp': webapp }) }] as const
}

/** A client that resets its connection is no event. Says `this`, since a closure would keep what is around it for as long. */
function destroyIt(this: Duplex): void {
  this.destroy()
}

function limitBody(req: IncomingMessage, seconds: number): void {
  const slow = setTimeout(() => req.destroy(), seconds * 1000)
  req.once('end', () => clearTimeout(slow)).once('close', () => clearTimeout(slow))
}

const ID_BYTES = 9
const ID_LENGTH = 12
let idPool = ''
let drawnTo = 0

/** 72 random bits, base64url. Drawn for many at once, since that costs no more than for one. */
function newRequestId(): string {
  if (drawnTo === idPool.length) {
    idPool = randomBytes(256 * ID_BYTES).toString('base64url')
    drawnTo = 0
  }
  drawnTo += ID_LENGTH
  return idPool.slice(drawnTo - ID_LENGTH, drawnTo)
}

function refuse(req: IncomingMessage, res: ServerResponse, error: GatewayError, requestId: string): void {
  if (res.headersSent) return void res.destroy()
  for (const [name, value] of Object.entries(refusalHeaders(error))) res.setHeader(name, value)
  // The rest of a body that nobody will read must not be taken for the next request.
  if (!req.complete) res.setHeader('connection', 'close')
  const page = () => errorPage(error, { requestId, returnUri: undefined, frameAncestors: ['*'] })
  if (acceptsHtml(req.headers.accept)) sendPage(res, error.status, page())
  else sendJson(res, error.status, problem(error, requestId), PROBLEM_JSON)
}

/**
 * Requests without a body get no stream events, which costs less. Not for listeners where express may answer 404 by itself:
 * it would wait for those events.
 */
export const BODILESS_FAST: ServerOptions = { optimizeEmptyRequests: true }

/** Connections are cut when the headers of a request, or the first byte of anything, are not there in time. */
export function headersWithin(seconds: number): ServerOptions {
  return { headersTimeout: seconds * 1000, connectionsCheckingInterval: Math.min(seconds, CHECKING_SECONDS) * 1000 }
}

/** A listener with limits on headers, for plain or TLS connections. Requests that the parser refuses get a short 400. */
export function createListener(
  onRequest: RequestListener,
  tls?: { cert: Buffer; key: Buffer },
  more: ServerOptions = {},
): Server | TlsServer {
  const options: ServerOptions = {
    ...headersWithin(HEADERS_SECONDS),
    requestTimeout: 0,
    maxHeaderSize: MAX_HEADER_BYTES,
    keepAliveTimeout: 65_000,
    ...more,
  }
  const server =
    tls === undefined ? createServer(options, onRequest) : createTlsServer({ ...options, ...tls }, onRequest)
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
    const refusal = new GatewayError(status, 'request_malformed', 'The request is not well-formed HTTP.')
    refuseWith(socket, refusal, newRequestId())
  })
  return server
}

/** @returns where it listens, the real port filled in */
export function listen(
  server: Server,
  { host, port }: { host: string; port: number },
): Promise<{ host: string; port: number }> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve({ host, port: (server.address() as AddressInfo).port })
    })
  })
}
