import { expect, it } from 'vitest'
import { close, listen } from '../../src/demo/listen.ts'
import type { FixedRate, Punctuality } from './open-loop.ts'
import { messageOf, startWorker } from './processes.ts'

const STALL_MS = 400

it('counts what was due while the server stalled as late, though nobody had asked for it yet', async () => {
  let stalledUntil = 0
  let asked = 0
  const { server, port } = await listen((_req, res) => {
    asked += 1
    // From the hundredth request on nothing is answered for a while; then everything at once.
    if (asked === 100) stalledUntil = performance.now() + STALL_MS
    setTimeout(
      () => res.writeHead(200, { 'content-length': 2 }).end('ok'),
      Math.max(0, stalledUntil - performance.now()),
    )
  }, 0)
  await using load = startWorker(new URL('./open-loop.ts', import.meta.url))
  const job: FixedRate = { port, headers: { Host: 'app.localhost' }, perSecond: 400, milliseconds: 1000 }
  load.worker.send(job)
  const { requests, p50Microseconds, p99Microseconds } = await messageOf<Punctuality>(load.worker)
  await close(server)

  expect(requests).toBe(400)
  // 160 of them were due during the stall, more than there are connections: they were late by up to the whole of it.
  expect(p99Microseconds).toBeGreaterThan(0.9 * STALL_MS * 1000)
  expect(p50Microseconds).toBeLessThan(p99Microseconds)
})
