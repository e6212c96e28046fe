import { randomFillSync } from 'node:crypto'
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
import { asGatewayError, GatewayError, notFound } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
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

const HEADERS_TIMEOUT_MS = 30_000
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
export function createPublicHandlers(front: () => Front, events: Events) {
  function arrive(req: IncomingMessage, requestId: string): Arrival {
    checkMethod(req.method ?? '')
    checkSingleHeaders(req.rawHeaders)
    const target = parseTarget(req.url ?? '')
    return { requestId, target, place: front().places.find(req.headers.host, target) }
  }

  function appContext(req: IncomingMessage, { requestId, target }: Arrival, scope: string) {
    return { requestId, target, scope, client: clientOf(req, front().trustedProxies) }
  }

  function proxyingAt(place: Extract<Place, { kind: 'app' | 'outside' }>): Proxying {
    const proxying = front().proxying.get(place.site.app.webapp.name)
    if (proxying === undefined) throw notFound('no_such_page', 'There is nothing at this address.')
    return proxying
  }

  function answer(req: IncomingMessage, res: ServerResponse, requestId: string): Promise<void> | void {
    const arrival = arrive(req, requestId)
    const { place } = arrival
    if (place.kind === 'own') return answerOurselves(req, res, arrival, place)
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

  const onRequest: RequestListener = async (req, res) => {
    const requestId = newRequestId()
    try {
      await answer(req, res, requestId)
    } catch (thrown) {
      const error = asGatewayError(thrown)
      reportRefusal(error, req, requestId)
      refuse(req, res, error, requestId)
    }
  }

  const onUpgrade = (req: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const requestId = newRequestId()
    // A client that resets its connection while we look at its handshake is no event.
    socket.on('error', () => socket.destroy())
    upgrade(req, socket, head, requestId).catch((thrown: unknown) => {
      const error = asGatewayError(thrown)
      reportRefusal(error, req, requestId)
      refuseWith(socket, error, requestId)
    })
  }

  return { onRequest, onUpgrade }
}

function limitBody(req: IncomingMessage, seconds: number): void {
  const slow = setTimeout(() => req.destroy(), seconds * 1000)
  req.once('end', () => clearTimeout(slow)).once('close', () => clearTimeout(slow))
}

const ID_BYTES = 9
const idPool = Buffer.alloc(256 * ID_BYTES)
let idsDrawn = 0

/** 72 random bits, base64url. Drawn for many at once, since that costs no more than for one. */
function newRequestId(): string {
  const at = idsDrawn % idPool.length
  if (at === 0) randomFillSync(idPool)
  idsDrawn += ID_BYTES
  return idPool.toString('base64url', at, at + ID_BYTES)
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

/** A listener with limits on headers, for plain or TLS connections. Requests that the parser refuses get a short 400. */
export function createListener(
  onRequest: RequestListener,
  tls?: { cert: Buffer; key: Buffer },
  more: ServerOptions = {},
): Server | TlsServer {
  const options: ServerOptions = {
    headersTimeout: HEADERS_TIMEOUT_MS,
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
