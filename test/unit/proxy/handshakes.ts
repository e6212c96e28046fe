import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { createWebSocketUpstream } from '../../../src/proxy/websocket.ts'
import { listening } from '../serving.ts'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** What an app sends over its bare connection to accept a WebSocket: its 101, and a first message in the same packet. */
export function acceptance(key: string | undefined, message: string): Buffer {
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
  const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), Buffer.from([0x81, message.length]), Buffer.from(message)])
}

/** The first message that a browser hears of the app at `url`, whose public host is `host`. @throws {Error} when it is cut before */
export async function firstMessage(url: string, host: string): Promise<string> {
  const upstream = createWebSocketUpstream({ url, timeouts: { connect: 5, response: 5, idle: 60 } })
  const gateway = createServer()
  gateway.on('upgrade', (req, socket, head) => {
    const key = req.headers['sec-websocket-key'] ?? ''
    upstream.upgrade(req, socket, head, {
      path: '/',
      headers: ['host', host, 'sec-websocket-key', key, 'sec-websocket-version', '13'],
      responseHeaders: (raw) => raw.slice(raw.indexOf('Sec-WebSocket-Accept')),
      onOpen: () => {},
      onFailure: () => socket.destroy(),
    })
  })
  const client = new WebSocket(`ws://127.0.0.1:${await listening(gateway)}/`)
  onTestFinished(() => client.terminate())
  return new Promise((resolve, reject) => {
    client.once('message', (data) => resolve(String(data)))
    client.once('error', reject)
    client.once('close', (code) => reject(new Error(`closed: ${code}`)))
  })
}
