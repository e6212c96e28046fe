import { expect, it, onTestFinished } from 'vitest'
import { createOutbound, OutboundError } from '../../../src/core/outbound.ts'
import { close, listen } from '../../../src/demo/listen.ts'

/** A server that sends one piece of a body, then does as it is told. */
async function serveHalf(then: 'waits' | 'breaks off') {
  const gone = Promise.withResolvers<void>()
  const { server, port } = await listen((_, res) => {
    res.once('close', gone.resolve)
    res.writeHead(206).write('half')
    if (then === 'breaks off') setImmediate(() => res.destroy())
  }, 0)
  onTestFinished(() => close(server))
  const outbound = createOutbound({ insecureLoopback: false })
  onTestFinished(() => outbound.close())
  const open = (signal: AbortSignal) =>
    outbound.stream(`http://127.0.0.1:${port}/`, { signal }, { operatorNamed: true })
  return { open, gone: gone.promise }
}

async function firstPiece(body: AsyncIterable<Uint8Array>): Promise<string> {
  for await (const piece of body) return Buffer.from(piece).toString()
  return ''
}

it('a stream is read while it is still being sent, and who stops reading ends it', async () => {
  const { open, gone } = await serveHalf('waits')
  const { status, body } = await open(new AbortController().signal)
  expect(status).toBe(206)
  expect(await firstPiece(body)).toBe('half')
  await expect(gone).resolves.toBeUndefined()
})

it('a signal ends a stream that is being read', async () => {
  const { open, gone } = await serveHalf('waits')
  const controller = new AbortController()
  const { body } = await open(controller.signal)
  const reading = Array.fromAsync(body)
  controller.abort(new Error('enough'))
  await expect(reading).rejects.toThrow(OutboundError)
  await expect(gone).resolves.toBeUndefined()
})

it('a stream that breaks off is a technical fault', async () => {
  const { open } = await serveHalf('breaks off')
  const { body } = await open(new AbortController().signal)
  await expect(Array.fromAsync(body)).rejects.toThrow(OutboundError)
})
