import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { expect, it, onTestFinished } from 'vitest'
import { startWopiScene, type WopiScene } from './wopi-scene.ts'

const MIB = 1024 * 1024
const CHUNK = Buffer.alloc(MIB, 'x')

/** One file at a WebDAV server that holds no bytes: they are made as they are read, and counted as they are written. */
async function startSender(size: number) {
  const file = { size, etag: 1, modified: new Date('2026-01-01T00:00:00Z') }
  const hooks: { afterPut?: () => Promise<void> } = {}
  const handlers: Record<string, (req: IncomingMessage, res: ServerResponse) => Promise<void> | void> = {
    PROPFIND(req, res) {
      const properties = `<d:resourcetype/><d:getcontentlength>${file.size}</d:getcontentlength><d:getetag>"${file.etag}"</d:getetag><d:getlastmodified>${file.modified.toUTCString()}</d:getlastmodified>`
      res.writeHead(207, { 'content-type': 'application/xml' })
      res.end(
        `<d:multistatus xmlns:d="DAV:"><d:response><d:href>${req.url}</d:href><d:propstat><d:prop>${properties}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>`,
      )
    },
    GET(_req, res) {
      res.writeHead(200, { 'content-length': file.size, etag: `"${file.etag}"` })
      Readable.from(chunks(file.size)).pipe(res)
    },
    async PUT(req, res) {
      if (req.headers['if-match'] !== undefined && req.headers['if-match'] !== `"${file.etag}"`)
        return void res.writeHead(412).end()
      let written = 0
      for await (const chunk of req) written += (chunk as Buffer).length
      Object.assign(file, { size: written, etag: file.etag + 1, modified: new Date(file.modified.getTime() + 60_000) })
      await hooks.afterPut?.()
      res.writeHead(204, { etag: `"${file.etag}"` }).end()
    },
  }
  const server = createServer(async (req, res) => {
    const handler = handlers[req.method ?? '']
    if (handler === undefined) res.writeHead(405).end()
    else await handler(req, res)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { file, hooks, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/big.odt` }
}

function* chunks(size: number): Generator<Buffer> {
  for (let left = size; left > 0; left -= MIB) yield left >= MIB ? CHUNK : CHUNK.subarray(0, left)
}

/** Alice’s share of a file that is at that server. */
async function openAt(scene: WopiScene, davUri: string) {
  const made = await scene.share({ uri: `${scene.gateway.origin}/office/.ocm/open`, resource: scene.report })
  const notification = scene.alice.notification(made)
  const { webapp } = notification.protocol
  await scene.alice.provision({ ...notification, protocol: { name: 'multi', webapp, webdav: { uri: davUri } } })
  const token = await scene.token({ share: made })
  return scene.edit(await scene.launch(token))
}

/** Memory of a process that is in use, in MiB (Linux). */
function residentMib(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

function transfer(
  { port }: { port: number },
  path: string,
  { host, method, headers, body }: { host: string; method: string; headers?: Record<string, string>; body?: Readable },
): Promise<{ status: number; size: number }> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, method, headers: { host, ...headers } }, async (res) => {
      let size = 0
      for await (const chunk of res) size += (chunk as Buffer).length
      resolve({ status: res.statusCode ?? 0, size })
    })
    sent.on('error', reject)
    if (body === undefined) sent.end()
    else body.pipe(sent)
  })
}

it('a large file is opened and saved with flat memory', async () => {
  const size = Number(process.env.WOPI_LARGE_MIB ?? 256) * MIB
  const scene = await startWopiScene({ editor: { signs: false } })
  const sender = await startSender(size)
  const editor = await openAt(scene, sender.url)
  const { pathname, host } = new URL(editor.wopiSrc)
  const path = `${pathname}/contents?access_token=${editor.token}`
  await editor.lock('L')
  const before = residentMib(scene.gateway.pid)
  let peak = before
  const watch = setInterval(() => {
    peak = Math.max(peak, residentMib(scene.gateway.pid))
  }, 50)
  expect(await transfer(scene.gateway, path, { host, method: 'GET' })).toEqual({ status: 200, size })
  const saved = await transfer(scene.gateway, path, {
    host,
    method: 'POST',
    headers: { 'X-WOPI-Override': 'PUT', 'X-WOPI-Lock': 'L', 'Content-Length': String(size - 1) },
    body: Readable.from(chunks(size - 1)),
  })
  clearInterval(watch)
  expect(saved.status).toBe(200)
  expect(sender.file.size).toBe(size - 1)
  expect(peak - before, `from ${before} MiB to ${peak} MiB`).toBeLessThan(160)
})

it('kill -9 between a save at the sender and its answer: the lock holds, and the same save is no foreign change', async () => {
  const scene = await startWopiScene({ editor: { signs: false } })
  const sender = await startSender(10)
  const editor = await openAt(scene, sender.url)
  const { LastModifiedTime } = await editor.info()
  const headers = { 'X-COOL-WOPI-Timestamp': String(LastModifiedTime), 'X-COOL-WOPI-IsAutosave': 'true' }
  await editor.read()
  await editor.lock('L')
  const versionBefore = (await editor.info()).Version
  sender.hooks.afterPut = () => scene.gateway.kill()
  expect((await editor.save('typed once', 'L', headers)).status).toBe(0)
  delete sender.hooks.afterPut
  await scene.gateway.start()
  expect((await editor.call({ override: 'GET_LOCK' })).header('x-wopi-lock')).toBe('L')
  expect((await editor.lock('another')).status).toBe(409)
  const again = await editor.save('typed once', 'L', headers)
  expect(again.status, again.body.toString()).toBe(200)
  const versionAfter = (await editor.info()).Version
  expect(versionAfter).not.toBe(versionBefore)
  expect(again.header('x-wopi-itemversion')).toBe(versionAfter)
})

it('kill -9 before a save reaches the sender: the editor sends it again', async () => {
  const scene = await startWopiScene({ editor: { signs: false } })
  const sender = await startSender(10)
  const editor = await openAt(scene, sender.url)
  await editor.read()
  await editor.lock('L')
  await scene.gateway.kill()
  await scene.gateway.start()
  expect((await editor.save('typed once', 'L')).status).toBe(200)
  expect(sender.file.size).toBe('typed once'.length)
})
