import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect, it } from 'vitest'
import { createDraining } from '../../../src/http/draining.ts'

it('who has come when it stops listening is let in and answered', async () => {
  const server = createServer((req, res) => void req.resume().on('end', () => res.end('done')))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const draining = createDraining(server)
  const ended = draining.drain({ drainDelay: 0.05, drainTimeout: 5 })
  const answers = await new Promise<Promise<string>[]>((resolve) => setTimeout(() => resolve(comeAllAtOnce(port)), 40))
  for (const answer of answers) expect(await answer).toMatch(/^HTTP\/1\.1 200 /)
  await ended
})

/** Twenty POSTs that have arrived, and wait for a process that is busy until it is time to stop. */
function comeAllAtOnce(port: number): Promise<string>[] {
  const post = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nonce'
  const sockets: Socket[] = Array.from({ length: 20 }, () => connect({ port, host: '127.0.0.1', allowHalfOpen: true }))
  for (const socket of sockets) socket.write(post)
  process.nextTick(() => {
    const until = performance.now() + 30
    while (performance.now() < until);
  })
  return sockets.map((socket) => text(socket).catch((error: Error) => error.message))
}
