import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { close } from '../../src/demo/listen.ts'

export type TellingApp = Awaited<ReturnType<typeof startTellingApp>>

/** The app behind the gateways: tells each request, and each message of a WebSocket, whose it thinks it is. Counts POSTs. */
export async function startTellingApp() {
  const open = new Set<WebSocket>()
  const posts = new Map<string, number>()
  const sockets = new WebSocketServer({ noServer: true })
  const server = createServer((req, res) => {
    const { method, url = '' } = req
    if (method === 'POST') posts.set(url, (posts.get(url) ?? 0) + 1)
    req.resume()
    res.writeHead(200, { 'content-type': 'text/plain' }).end(whose(req))
  })
  server.on('upgrade', (req, socket, head) => {
    socket.on('error', () => socket.destroy())
    sockets.handleUpgrade(req, socket, head, (client) => {
      open.add(client)
      client.on('message', (data) => client.send(`${whose(req)} ${data}`))
      client.on('error', () => client.terminate()).on('close', () => open.delete(client))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/`,
    /** WebSockets that are open now. */
    open,
    /** How often each path and query was posted to. */
    posts,
    async close(): Promise<void> {
      for (const socket of open) socket.terminate()
      await close(server)
    },
  }
}

/** `share person`, as the gateway says. */
function whose({ headers }: IncomingMessage): string {
  return `${headers['x-ocm-provider-id']} ${headers['x-ocm-user']}`
}
