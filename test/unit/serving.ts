import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import { onTestFinished } from 'vitest'

/** Lets a server listen on this machine until the test is over. @returns its port */
export async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** A server on this machine, gone with the test. @returns its origin */
export async function serving(handler: RequestListener): Promise<string> {
  const server = createServer(handler)
  const port = await listening(server)
  onTestFinished(() => server.closeAllConnections())
  return `http://127.0.0.1:${port}`
}
