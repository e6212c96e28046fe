import { readFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { startWopiScene, type WopiScene } from './wopi-scene.ts'
import { launchAt } from './wopi-sender.ts'

const MIB = 1024 * 1024
const CHUNK = Buffer.alloc(MIB, 'x')
/** What V8 may put off collecting is a fraction of what goes through. */
const SMALLEST_HEAP = '--max-old-space-size=64 --max-semi-space-size=1'

const SMALL = 64
const LARGE = Number(process.env.WOPI_LARGE_MIB ?? 256)
/** MiB that the larger file may take more than the smaller one. */
const BOUND = 24
const SLOW_MS_PER_MIB = 2

/** Files at a WebDAV server that holds no bytes: `/<MiB>.odt`, made as it is read, and counted as it is written. */
async function startSender() {
  const written: number[] = []
  const server = createServer(async (req, res) => {
    const size = Number(/\d+/.exec(req.url ?? '')?.[0]) * MIB
    if (req.method === 'PROPFIND') {
      const properties = `<d:resourcetype/><d:getcontentlength>${size}</d:getcontentlength><d:getetag>"${written.length}"</d:getetag>`
      res.writeHead(207, { 'content-type': 'application/xml' })
      res.end(
        `<d:multistatus xmlns:d="DAV:"><d:response><d:href>${req.url}</d:href><d:propstat><d:prop>${properties}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>`,
      )
    } else if (req.method === 'GET') {
      res.writeHead(200, { 'content-length': size, etag: `"${written.length}"` })
      Readable.from(chunks(size)).pipe(res)
    } else if (req.method === 'PUT') {
      written.push(await readSlowly(req))
      res.writeHead(204).end()
    } else res.writeHead(405).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { written, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

/** More slowly than it is sent: what comes too fast has to wait at whoever sends it. @returns bytes */
async function readSlowly(body: Readable): Promise<number> {
  let size = 0
  let pauses = 0
  for await (const chunk of body) {
    size += (chunk as Buffer).length
    for (; pauses < size / MIB - 1; pauses += 1) await pause(SLOW_MS_PER_MIB)
  }
  return size
}

function* chunks(size: number): Generator<Buffer> {
  for (let left = size; left > 0; left -= MIB) yield left >= MIB ? CHUNK : CHUNK.subarray(0, left)
}

/** Memory of a process that is in use, in MiB (Linux). */
function residentMib(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

/** The most that the process had in use meanwhile, in MiB. */
async function peakDuring(pid: number, work: () => Promise<void>): Promise<number> {
  let peak = residentMib(pid)
  const watch = setInterval(() => {
    peak = Math.max(peak, residentMib(pid))
  }, 20)
  await work().finally(() => clearInterval(watch))
  return peak
}

function transfer(
  { port }: { port: number },
  path: string,
  { host, method, headers, body }: { host: string; method: string; headers?: Record<string, string>; body?: Readable },
): Promise<{ status: number; size: number }> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, method, headers: { host, ...headers } }, async (res) => {
      resolve({ status: res.statusCode ?? 0, size: await readSlowly(res) })
    })
    sent.on('error', reject)
    if (body === undefined) sent.end()
    else body.pipe(sent)
  })
}

/** Opens and saves a file of so many MiB. */
async function openAndSave(scene: WopiScene, sender: Awaited<ReturnType<typeof startSender>>, mib: number) {
  const editor = await scene.edit(await launchAt(scene, `${sender.url}/${mib}.odt`))
  const { pathname, host } = new URL(editor.wopiSrc)
  const path = `${pathname}/contents?access_token=${editor.token}`
  await editor.lock('L')
  const size = mib * MIB
  return peakDuring(scene.gateway.pid, async () => {
    expect(await transfer(scene.gateway, path, { host, method: 'GET' })).toEqual({ status: 200, size })
    const saved = await transfer(scene.gateway, path, {
      host,
      method: 'POST',
      headers: { 'X-WOPI-Override': 'PUT', 'X-WOPI-Lock': 'L', 'Content-Length': String(size) },
      body: Readable.from(chunks(size)),
    })
    expect(saved.status).toBe(200)
    expect(sender.written.at(-1)).toBe(size)
  })
}

it(`a file of ${LARGE} MiB is opened and saved with no more memory than one of ${SMALL} MiB`, async ({ annotate }) => {
  const scene = await startWopiScene({ editor: { signs: false }, nodeOptions: SMALLEST_HEAP })
  const sender = await startSender()
  const before = residentMib(scene.gateway.pid)
  const small = await openAndSave(scene, sender, SMALL)
  const large = await openAndSave(scene, sender, LARGE)
  const figures = `${Math.round(before)} MiB before, ${Math.round(small)} with ${SMALL}, ${Math.round(large)} with ${LARGE}`
  await annotate(figures)
  expect(large - small, figures).toBeLessThan(BOUND)
}, 120_000)
