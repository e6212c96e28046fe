import { createHash } from 'node:crypto'
import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as overHttp } from 'node:http'
import { Agent as HttpsAgent, request as overHttps } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { badGateway, badRequest, type GatewayError } from '../core/errors.ts'
import { failure, linger, sendableReason, serverName, type UpstreamOptions } from './forward.ts'
import { openTunnel } from './tunnel.ts'

/** One handshake, decided upon. */
export interface Handshake {
  readonly path: string
  /** name, value, name, value; without `Connection` and `Upgrade`. */
  readonly headers: readonly string[]
  readonly responseHeaders: (raw: readonly string[]) => string[]
  /** The app accepted: from now on what one side says reaches the other. */
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

const UPGRADED = ['connection', 'Upgrade', 'upgrade', 'websocket']

/**
 * WebSocket connections to one app. The handshake is an HTTP request of its own; the app’s 101 must carry the right
 * `Sec-WebSocket-Accept`. From then on the two connections are one, and nothing of the handshake is kept.
 */
export function createWebSocketUpstream({ url, timeouts }: UpstreamOptions) {
  const { protocol, hostname, port } = new URL(url)
  const [ask, agent] = protocol === 'https:' ? [overHttps, new HttpsAgent()] : [overHttp, new HttpAgent()]
  const host = hostname.replace(/^\[|\]$/g, '')
  const target = { host, port, servername: serverName(hostname), agent, setHost: false } as const

  return {
    /** Sends a checked handshake on. The answer, good or bad, reaches the client by itself, except for a transport failure. */
    upgrade(req: IncomingMessage, socket: Duplex, head: Buffer, handshake: Handshake): void {
      const asked = ask({ ...target, path: handshake.path, headers: [...handshake.headers, ...UPGRADED] })
      const over = limit(asked, socket, timeouts.response)
      asked.on('upgrade', (answer, app, appHead) => {
        over()
        const accepted = isAccepted(answer, req.headers['sec-websocket-key'])
        if (accepted) join({ socket: socket as Socket, head }, { socket: app, head: appHead }, answer, handshake)
        else {
          app.destroy()
          handshake.onFailure(
            badGateway('upstream_handshake', 'The application answered the WebSocket handshake wrongly.'),
          )
        }
      })
      asked.on('response', (answer) => {
        over()
        passRefusal(answer, socket, handshake)
      })
      asked.on('error', (error) => {
        const clientGone = socket.destroyed
        over()
        if (!clientGone) handshake.onFailure(failure(error))
      })
      asked.end()
    },
  }
}

/**
 * Ends a handshake that takes too long, or whose client has gone. Also whose session has ended: it must not become a
 * WebSocket that nobody holds.
 *
 * @returns to be called when it is over
 */
function limit(asked: ClientRequest, socket: Duplex, seconds: number): () => void {
  const late = setTimeout(() => asked.destroy(new Late()), seconds * 1000)
  const gone = () => asked.destroy()
  socket.on('close', gone)
  return () => {
    clearTimeout(late)
    socket.off('close', gone)
  }
}

/** One side of an upgraded connection, and what came over it together with the handshake. */
interface Side {
  readonly socket: Socket
  readonly head: Buffer
}

function join(client: Side, app: Side, { rawHeaders }: IncomingMessage, { responseHeaders, onOpen }: Handshake): void {
  for (const { socket } of [client, app]) socket.setTimeout(0).setNoDelay(true).setKeepAlive(true)
  client.socket.write(headOf(101, 'Switching Protocols', [...responseHeaders(rawHeaders), ...UPGRADED]), 'latin1')
  for (const { socket, head } of [client, app]) if (head.length > 0) socket.unshift(head)
  openTunnel(client.socket, app.socket)
  onOpen()
}

function passRefusal(answer: IncomingMessage, socket: Duplex, { responseHeaders, onFailure }: Handshake): void {
  const { statusCode: status = 502, statusMessage = '', rawHeaders } = answer
  socket.write(headOf(status, statusMessage, [...responseHeaders(rawHeaders), 'connection', 'close']), 'latin1')
  answer.on('error', () => socket.destroy()).on('end', () => linger(socket))
  answer.pipe(socket)
  onFailure(badGateway('upstream_no_upgrade', 'The application refused the WebSocket.', { detail: { status } }))
}

class Late extends Error {
  readonly code = 'ETIMEDOUT'
}

/** RFC 6455 §4.1, client requirements 1 to 4 on the server’s answer. */
function isAccepted({ headers, statusCode }: IncomingMessage, key: string | undefined): boolean {
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
  return (
    statusCode === 101 && headers.upgrade?.toLowerCase() === 'websocket' && headers['sec-websocket-accept'] === accept
  )
}

/** @param headers name, value, name, value: as a parser or our rules made them, so that none has a line break */
function headOf(status: number, message: string, headers: readonly string[]): string {
  let lines = `HTTP/1.1 ${status} ${sendableReason(message)}\r\n`
  for (let index = 0; index < headers.length; index += 2) lines += `${headers[index]}: ${headers[index + 1]}\r\n`
  return `${lines}\r\n`
}
