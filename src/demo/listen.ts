import type { RequestListener, Server } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Serves on loopback; port 0 takes a free one. */
export async function listen(listener: RequestListener, port: number): Promise<{ server: Server; port: number }> {
  const server = createServer(listener)
  await new Promise<void>((listening, failed) => {
    server.once('error', failed)
    server.listen(port, '127.0.0.1', listening)
  })
  return { server, port: (server.address() as AddressInfo).port }
}

/** Ends all connections too: event streams and sockets would keep a polite close waiting. */
export async function close(server: Server): Promise<void> {
  const closed = new Promise((done) => server.close(done))
  server.closeAllConnections()
  await closed
}

/** The port that was wished for when it is free, else a free one; for what must be told its port before it listens. */
export async function freePort(wished = 0): Promise<number> {
  const { server, port } = await listen(() => {}, wished).catch(() => listen(() => {}, 0))
  await close(server)
  return port
}
