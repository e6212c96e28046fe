import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createHistogram } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'
import type { Beats } from './metronome.ts'
import { APP_BASE, type Headers, missingAfterHead, requestText, workloadOf } from './workloads.ts'

/**
 * Load at a fixed rate, as a process of its own: requests are due at fixed times, whether those before were answered or
 * not, and each is as slow as its answer is after its due time. A generator that waits for answers would leave out what
 * people would have asked for in the meantime (coordinated omission).
 */

/** What to send, and how often. */
export interface FixedRate {
  readonly port: number
  readonly headers: Headers
  readonly perSecond: number
  readonly milliseconds: number
}

/** How late answers were after their requests were due. */
export interface Punctuality {
  readonly requests: number
  readonly p50Microseconds: number
  readonly p99Microseconds: number
}

/** More than are ever under way below saturation; a request that finds none free waits, and that counts. */
const CONNECTIONS = 64
const START_MS = 50

async function run({ port, headers, perSecond, milliseconds }: FixedRate): Promise<Punctuality> {
  const request = requestText(APP_BASE + workloadOf('1k').path, headers)
  const latencies = createHistogram({ figures: 3 })
  const [interval, count] = [1e9 / perSecond, Math.round((perSecond * milliseconds) / 1000)]
  const startsAt = process.hrtime.bigint() + BigInt(START_MS * 1e6)
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(port)))
  const idle = [...sockets]
  const waiting: number[] = []
  const over = Promise.withResolvers<void>()

  function ask(socket: Socket, beat: number): void {
    let missing = 0
    const onData = (chunk: Buffer) => {
      missing = missing === 0 ? missingAfterHead(chunk) : missing - chunk.length
      if (missing > 0) return
      socket.off('data', onData)
      const late = Number(process.hrtime.bigint() - startsAt) - beat * interval
      latencies.record(Math.max(1, Math.round(late / 1000)))
      const next = waiting.shift()
      if (next === undefined) idle.push(socket)
      else ask(socket, next)
      if (latencies.count === count) over.resolve()
    }
    socket.on('data', onData).write(request)
  }

  for (const socket of sockets)
    socket.on('error', over.reject).on('close', () => over.reject(new Error('a connection was closed during a sample')))
  const metronome = new Worker(new URL('./metronome.ts', import.meta.url), {
    workerData: { startsAt, interval, count } satisfies Beats,
  })
  metronome.on('message', (beat: number) => {
    const socket = idle.pop()
    if (socket === undefined) waiting.push(beat)
    else ask(socket, beat)
  })
  await over.promise
  for (const socket of sockets) socket.destroy()
  return {
    requests: latencies.count,
    p50Microseconds: latencies.percentile(50),
    p99Microseconds: latencies.percentile(99),
  }
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  return socket
}

process.on('message', async (job: FixedRate) => process.send?.(await run(job)))
process.once('disconnect', () => process.exit())
