import { createHash } from 'node:crypto'
import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { createProxyMiddleware, type Plugin } from 'http-proxy-middleware'
import { badGateway, badRequest, type GatewayError } from '../core/errors.ts'
import { prepareFarewell } from './farewell.ts'
import { failure, type UpstreamOptions } from './forward.ts'

/** One handshake, decided upon. */
export interface Handshake {
  readonly path: string
  /** name, value, name, value; without `Connection` and `Upgrade`. */
  readonly headers: readonly string[]
  readonly responseHeaders: (raw: readonly string[]) => string[]
  /** The app accepted: both sockets are piped. */
  readonly onOpen: () => void
  /** The app refused with plain HTTP, or failed before it answered. */
  readonly onFailure: (error: GatewayError) => void
}

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/**
 * Refuses what is not a WebSocket handshake (RFC 6455 §4.1): no other protocol is ever upgraded to.
 *
 * @throws {GatewayError} 400 `upgrade_refused`
 */
export function checkHandshake({ method, headers, httpVersion }: IncomingMessage): void {
  const key = headers['sec-websocket-key']
  const valid =
    method === 'GET' &&
    httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    typeof key === 'string' &&
    /^[A-Za-z0-9+/]{22}==$/.test(key) &&
    (headers['content-length'] ?? '0') === '0' &&
    headers['transfer-encoding'] === undefined
  if (!valid) throw badRequest('upgrade_refused', 'Only WebSocket handshakes (version 13) may ask for an upgrade.')
}

/**
 * WebSocket connections to one app, over http-proxy-middleware. The app’s 101 must carry the right `Sec-WebSocket-Accept`;
 * when either side closes, the other is closed too.
 */
export function createWebSocketUpstream({ url, timeouts }: UpstreamOptions) {
  const handshakes = new WeakMap<IncomingMessage, Handshake>()

  const watch: Plugin = (server) => {
    server.on('proxyReqWs', (proxyReq: ClientRequest, req: IncomingMessage, socket: Duplex) => {
      const handshake = handshakes.get(req)
      if (handshake === undefined) return void socket.destroy()
      for (const header of proxyReq.getRawHeaderNames()) proxyReq.removeHeader(header)
      setHeaders(proxyReq, handshake.headers)
      // Also a session that ends meanwhile: its handshake must not become a WebSocket that nobody holds.
      socket.once('close', () => proxyReq.destroy())
      proxyReq.prependOnceListener('upgrade', (res, appSocket) => {
        if (!isAccepted(res, req)) {
          appSocket.destroy()
          socket.destroy()
          return handshake.onFailure(
            badGateway('upstream_handshake', 'The application answered the WebSocket handshake wrongly.'),
          )
        }
        res.headers = upgradeHeaders(res, handshake) as IncomingMessage['headers']
        socket.once('close', () => appSocket.destroy())
        appSocket.once('close', () => socket.destroy())
        prepareFarewell(socket, appSocket)
        handshake.onOpen()
      })
      proxyReq.prependOnceListener('response', (res) => {
        res.headers = headerObject(handshake.responseHeaders(res.rawHeaders)) as IncomingMessage['headers']
        handshake.onFailure(
          badGateway('upstream_no_upgrade', 'The application refused the WebSocket.', {
            detail: { status: res.statusCode },
          }),
        )
      })
    })
    server.on('error', (error, req, client) => {
      const clientGone = client !== undefined && 'destroyed' in client && client.destroyed
      if (req !== undefined && !clientGone) handshakes.get(req)?.onFailure(failure(error))
    })
  }

  const proxy = createProxyMiddleware({
    target: new URL(url).origin,
    ejectPlugins: true,
    plugins: [watch],
    agent: undefined,
    prependPath: false,
    upgradeTimeout: timeouts.response * 1000,
  } as Parameters<typeof createProxyMiddleware>[0])

  return {
    /** Sends a checked handshake on. The answer, good or bad, reaches the client by itself, except for a transport failure. */
    upgrade(req: IncomingMessage, socket: Duplex, head: Buffer, handshake: Handshake): void {
      handshakes.set(req, handshake)
      req.url = handshake.path
      proxy.upgrade(req, socket as Parameters<typeof proxy.upgrade>[1], head)
    },
  }
}

/** RFC 6455 §4.1, client requirements 1 to 4 on the server’s answer. */
function isAccepted({ headers, statusCode }: IncomingMessage, req: IncomingMessage): boolean {
  const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}${GUID}`).digest('base64')
  return (
    statusCode === 101 && headers.upgrade?.toLowerCase() === 'websocket' && headers['sec-websocket-accept'] === accept
  )
}

function setHeaders(proxyReq: ClientRequest, headers: readonly string[]): void {
  for (const [name, values] of Object.entries(headerObject(headers))) proxyReq.setHeader(name, values)
  proxyReq.setHeader('connection', 'Upgrade')
  proxyReq.setHeader('upgrade', 'websocket')
}

function upgradeHeaders(res: IncomingMessage, { responseHeaders }: Handshake): Record<string, string | string[]> {
  return { ...headerObject(responseHeaders(res.rawHeaders)), connection: 'Upgrade', upgrade: 'websocket' }
}

/** Values of one name stay separate lines. */
function headerObject(flat: readonly string[]): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = Object.create(null)
  for (let index = 0; index < flat.length; index += 2) {
    const name = (flat[index] ?? '').toLowerCase()
    const value = flat[index + 1] ?? ''
    const before = headers[name]
    headers[name] = before === undefined ? value : [before, value].flat()
  }
  return headers
}
