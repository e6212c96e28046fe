import { connect } from 'node:net'
import { createHistogram } from 'node:perf_hooks'
import { WebSocket } from 'ws'
import { APP_BASE, type Counted, type Job, missingAfterHead, requestText, workloadOf } from './workloads.ts'

/**
 * The load generator, as a process of its own: takes a `Job` from its parent and answers with what it counted. Every
 * connection is kept alive and has one request or message under way. Bare sockets, since a client library would cost
 * more than some of the subjects.
 */

/** Runs until `isOver` says so after a unit; then resolves. */
type Drive = (job: Job, isOver: () => boolean) => Promise<void>

const driveRequests: Drive = ({ workload, path = APP_BASE + workloadOf(workload).path, port, headers }, isOver) =>
  new Promise((resolve, reject) => {
    const request = requestText(path, headers)
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    let missing = 0
    socket.on('connect', () => socket.write(request))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('the connection was closed during a sample')))
    socket.on('data', (chunk: Buffer) => {
      missing = missing === 0 ? missingAfterHead(chunk) : missing - chunk.length
      if (missing > 0) return
      if (!isOver()) return void socket.write(request)
      socket.destroy()
      resolve()
    })
  })

const driveMessages: Drive = ({ workload, port, headers }, isOver) =>
  new Promise((resolve, reject) => {
    const url = `ws://127.0.0.1:${port}${APP_BASE}${workloadOf(workload).path}`
    const origin = `http://${headers.Host}`
    const socket = new WebSocket(url, { headers, origin, perMessageDeflate: false })
    const message = Buffer.alloc(64, 'x')
    socket.on('open', () => socket.send(message))
    socket.on('error', reject)
    socket.on('message', () => {
      if (!isOver()) return socket.send(message)
      socket.terminate()
      resolve()
    })
  })

async function run(job: Job): Promise<Counted> {
  const drive = job.workload === 'echo' ? driveMessages : driveRequests
  const latencies = createHistogram({ figures: 3 })
  const startedAt = performance.now()
  const endsAt = startedAt + job.milliseconds
  const timed = () => {
    let sentAt = performance.now()
    return () => {
      const now = performance.now()
      latencies.record(Math.max(1, Math.round((now - sentAt) * 1000)))
      sentAt = now
      return now >= endsAt
    }
  }
  const { connections } = workloadOf(job.workload)
  await Promise.all(Array.from({ length: connections }, () => drive(job, timed())))
  return {
    units: latencies.count,
    seconds: (performance.now() - startedAt) / 1000,
    p50Microseconds: latencies.percentile(50),
    p99Microseconds: latencies.percentile(99),
  }
}

process.on('message', async (job: Job) => process.send?.(await run(job)))
process.once('disconnect', () => process.exit())
