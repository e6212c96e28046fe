import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { createWebSocketUpstream } from '../../../src/proxy/websocket.ts'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** An app whose first message is in the same packet as its 101. */
function startHastyApp(message: string): Promise<number> {
  return listening(
    createTcpServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', (request) => {
        const key = /sec-websocket-key: (.*)\r\n/i.exec(String(request))?.[1]
        const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
        const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
        const frame = [Buffer.from([0x81, message.length]), Buffer.from(message)]
        socket.write(Buffer.concat([Buffer.from(head), ...frame]))
      })
    }),
  )
}

it('what an app sends together with its 101 reaches the browser', async () => {
  const app = await startHastyApp('first words')
  const timeouts = { connect: 5, response: 5, idle: 60 }
  const upstream = createWebSocketUpstream({ url: `http://127.0.0.1:${app}/`, timeouts })
  const gateway = createServer()
  gateway.on('upgrade', (req, socket, head) => {
    const { key, version } = { key: req.headers['sec-websocket-key'] ?? '', version: '13' }
    upstream.upgrade(req, socket, head, {
      path: '/',
      headers: ['host', 'app', 'sec-websocket-key', key, 'sec-websocket-version', version],
      responseHeaders: (raw) => raw.slice(raw.indexOf('Sec-WebSocket-Accept')),
      onOpen: () => {},
      onFailure: () => socket.destroy(),
    })
  })
  const client = new WebSocket(`ws://127.0.0.1:${await listening(gateway)}/`)
  onTestFinished(() => client.terminate())
  const heard = await new Promise((resolve, reject) => {
    client.once('message', (data) => resolve(String(data)))
    client.once('close', (code) => reject(new Error(`closed: ${code}`)))
  })
  expect(heard).toBe('first words')
})
