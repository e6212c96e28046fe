import { connect } from 'node:net'
import { createHistogram } from 'node:perf_hooks'
import { WebSocket } from 'ws'
import { APP_BASE, BROWSER_HEADERS, CONNECTIONS, type Counted, type Headers, type Job } from './workloads.ts'

/**
 * The load generator, as a process of its own: takes a `Job` from its parent and answers with what it counted. Every
 * connection is kept alive and has one request or message under way. Bare sockets, since a client library would cost
 * more than some of the subjects.
 */

/** Runs until `isOver` says so after a unit; then resolves. */
type Drive = (job: Job, isOver: () => boolean) => Promise<void>

function requestText(path: string, headers: Headers): string {
  const lines = Object.entries({ ...headers, ...BROWSER_HEADERS }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}

const driveRequests: Drive = ({ workload, port, headers }, isOver) =>
  new Promise((resolve, reject) => {
    const request = requestText(APP_BASE + workload, headers)
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

/** @returns how much of the body is still to come after the chunk that has the head of the answer */
function missingAfterHead(chunk: Buffer): number {
  const end = chunk.indexOf('\r\n\r\n')
  const head = chunk.toString('latin1', 0, end)
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
  if (!head.startsWith('HTTP/1.1 200 ') || length === undefined) throw new Error(`an unexpected answer:\n${head}`)
  return Number(length) - (chunk.length - end - 4)
}

const driveMessages: Drive = ({ workload, port, headers }, isOver) =>
  new Promise((resolve, reject) => {
    const url = `ws://127.0.0.1:${port}${APP_BASE}${workload}`
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
  await Promise.all(Array.from({ length: CONNECTIONS }, () => drive(job, timed())))
  return {
    units: latencies.count,
    seconds: (performance.now() - startedAt) / 1000,
    p50Microseconds: latencies.percentile(50),
    p99Microseconds: latencies.percentile(99),
  }
}

process.on('message', async (job: Job) => process.send?.(await run(job)))
process.once('disconnect', () => process.exit())
