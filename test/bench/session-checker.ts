import { hash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What nginx’s `auth_request` asks: the smallest Node server that knows one session by its cookie, as a process of its own. */

/** What it tells its parent once it listens. */
export interface SessionChecker {
  readonly port: number
  readonly cookie: string
}

const cookie = `session=${randomBytes(32).toString('base64url')}`
const sessions = new Map([[hash('sha256', cookie), { user: 'bob' }]])

const server = createServer({ keepAliveTimeout: 120_000 }, (req, res) => {
  const known = sessions.get(hash('sha256', req.headers.cookie ?? ''))
  res.writeHead(known ? 204 : 401).end()
})
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  process.send?.({ port, cookie } satisfies SessionChecker)
})
process.once('disconnect', () => process.exit())
