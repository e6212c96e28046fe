import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { showTable } from './figures.ts'
import { residentBytes } from './processes.ts'
import { type Subject, startSubjects } from './subjects.ts'
import { APP_BASE } from './workloads.ts'

const BYTES = 2 ** 30
const CHUNK = Buffer.alloc(64 * 1024, 'x')
const SLOW_SECONDS = 20
const WATCH_MS = 50

/** Streams a gigabyte down and up, and serves one slow reader of an endless answer: what the gateway’s memory does. */
export async function measureStreaming(say: (line: string) => void): Promise<void> {
  const { subjects, resources } = await startSubjects({ names: ['gateway'] }, say)
  await using _ = resources
  const [gateway] = subjects
  if (gateway === undefined) throw new Error('the gateway is missing')
  await download(gateway, 2 ** 20)
  const rows = [
    await watched(gateway, '1 GiB down', () => download(gateway, BYTES)),
    await watched(gateway, '1 GiB up', () => upload(gateway, BYTES)),
    await watched(gateway, `endless, read at 64 KiB/s for ${SLOW_SECONDS} s`, () => readSlowly(gateway)),
  ]
  say(showTable([['gateway, RSS in MiB', 'before', 'peak', 'after', 'MiB passed', 'seconds'], ...rows]))
}

/** One row of the table. @param work resolves with the bytes that passed */
async function watched({ pid }: Subject, title: string, work: () => Promise<number>): Promise<string[]> {
  const before = residentBytes(pid)
  let peak = before
  const watch = setInterval(() => (peak = Math.max(peak, residentBytes(pid))), WATCH_MS)
  const startedAt = performance.now()
  const bytes = await work().finally(() => clearInterval(watch))
  const seconds = (performance.now() - startedAt) / 1000
  const megabytes = [before, peak, residentBytes(pid), bytes].map((each) => (each / 2 ** 20).toFixed(0))
  return [title, ...megabytes, seconds.toFixed(1)]
}

/** The answer’s head; its body is still to be read. @throws {Error} unless it is a 200 */
async function answerTo(sent: ClientRequest): Promise<IncomingMessage> {
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  if (answer.statusCode !== 200) throw new Error(`the gateway answered ${answer.statusCode}`)
  return answer
}

async function download({ port, headers }: Subject, bytes: number): Promise<number> {
  const answer = await answerTo(request({ port, headers, path: `${APP_BASE}big?bytes=${bytes}` }).end())
  let received = 0
  for await (const chunk of answer) received += (chunk as Buffer).length
  return expected(received, bytes)
}

async function upload({ port, headers }: Subject, bytes: number): Promise<number> {
  const more = { 'content-length': bytes, origin: `http://${headers.Host}` }
  const sent = request({ port, headers: { ...headers, ...more }, method: 'POST', path: `${APP_BASE}take` })
  const chunks = Array.from({ length: bytes / CHUNK.length }, () => CHUNK)
  const [answer] = await Promise.all([answerTo(sent), pipeline(Readable.from(chunks), sent)])
  const body = await answer.setEncoding('utf8').toArray()
  return expected(Number(body.join('')), bytes)
}

function expected(got: number, wanted: number): number {
  if (got !== wanted) throw new Error(`${got} bytes arrived instead of ${wanted}`)
  return got
}

/** A client that takes 64 KiB a second, then goes away. */
async function readSlowly({ port, headers }: Subject): Promise<number> {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const socket = connect({ port, host: '127.0.0.1' }).pause()
  socket.write(`GET ${APP_BASE}big HTTP/1.1\r\n${lines.join('')}\r\n`)
  let received = 0
  for (let second = 0; second < SLOW_SECONDS; second += 1) {
    await wait(1000)
    received += (socket.read(CHUNK.length) as Buffer | null)?.length ?? 0
  }
  socket.destroy()
  return received
}
