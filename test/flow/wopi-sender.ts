import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { html } from '../../src/core/html.ts'
import type { WopiScene } from './wopi-scene.ts'

/** What happens at the sender, as it happens. */
export type SenderStep = 'GET half' | 'PUT half' | 'PUT done' | 'LOCK done' | 'UNLOCK done'

interface SenderFile {
  body: Buffer
  modified: Date
}

interface SenderLock {
  readonly token: string
  readonly owner: string
  /** Epoch milliseconds. */
  readonly until: number
}

type Handler = (req: IncomingMessage, res: ServerResponse, path: string) => Promise<void> | void

/**
 * A WebDAV server with locks that end in time (RFC 4918 §6.6), and ETags that are hashes: the same bytes have the same ETag.
 * `during` is called in the middle of what it does, before anybody gets an answer.
 */
export async function createLockingSender() {
  const files = new Map<string, SenderFile>()
  const locks = new Map<string, SenderLock>()
  const hooks: { during?: ((step: SenderStep) => Promise<void>) | undefined } = {}
  let late = 0
  let given = 0
  const now = () => Date.now() + late * 1000
  const during = async (step: SenderStep) => hooks.during?.(step)
  const etagOf = ({ body }: SenderFile) => `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`
  const lockOf = (path: string) => {
    const lock = locks.get(path)
    return lock !== undefined && lock.until > now() ? lock : undefined
  }

  const handlers: Record<string, Handler> = {
    PROPFIND(req, res, path) {
      const file = files.get(path)
      if (file === undefined) return void res.writeHead(404).end()
      const lock = lockOf(path)
      const discovered =
        lock &&
        html`<d:activelock><d:locktype><d:write/></d:locktype><d:lockscope><d:exclusive/></d:lockscope><d:depth>0</d:depth><d:owner>${lock.owner}</d:owner><d:locktoken><d:href>${lock.token}</d:href></d:locktoken></d:activelock>`
      const properties = html`<d:resourcetype/><d:getcontentlength>${file.body.length}</d:getcontentlength><d:getetag>${etagOf(file)}</d:getetag><d:getlastmodified>${file.modified.toUTCString()}</d:getlastmodified><d:lockdiscovery>${discovered ?? ''}</d:lockdiscovery>`
      res.writeHead(207, { 'content-type': 'application/xml' })
      res.end(
        `<d:multistatus xmlns:d="DAV:"><d:response><d:href>${req.url}</d:href><d:propstat><d:prop>${properties}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>`,
      )
    },
    async GET(_req, res, path) {
      const file = files.get(path)
      if (file === undefined) return void res.writeHead(404).end()
      res.writeHead(200, { 'content-length': file.body.length, etag: etagOf(file) })
      const half = Math.floor(file.body.length / 2)
      res.write(file.body.subarray(0, half))
      await during('GET half')
      res.end(file.body.subarray(half))
    },
    async PUT(req, res, path) {
      const chunks: Buffer[] = []
      for await (const chunk of req) {
        if (chunks.push(chunk as Buffer) === 1) await during('PUT half')
      }
      const refusal = refusalOf(path, req)
      if (refusal !== undefined) return void res.writeHead(refusal).end()
      const before = files.get(path)?.modified.getTime() ?? Date.now()
      files.set(path, { body: Buffer.concat(chunks), modified: new Date(before + 60_000) })
      await during('PUT done')
      res.writeHead(204).end()
    },
    async LOCK(req, res, path) {
      let body = ''
      for await (const chunk of req) body += chunk
      if (lockOf(path) !== undefined) return void res.writeHead(423).end()
      const seconds = Number(/^Second-(\d+)$/.exec(String(req.headers.timeout))?.[1])
      const owner = /<owner>([^<]*)<\/owner>/.exec(body)?.[1] ?? ''
      given += 1
      const token = `urn:uuid:${given}`
      locks.set(path, { token, owner, until: now() + seconds * 1000 })
      await during('LOCK done')
      res.writeHead(200, { 'lock-token': `<${token}>` }).end()
    },
    async UNLOCK(req, res, path) {
      if (req.headers['lock-token'] !== `<${lockOf(path)?.token}>`) return void res.writeHead(409).end()
      locks.delete(path)
      await during('UNLOCK done')
      res.writeHead(204).end()
    },
  }

  /** RFC 4918 §10.4: a token that is no lock (any more) fails the `If`; §6.1: a lock keeps out who does not bring its token. */
  function refusalOf(path: string, { headers }: IncomingMessage): number | undefined {
    const lock = lockOf(path)
    const brought = /^\(<([^>]+)>\)$/.exec(String(headers.if))?.[1]
    const file = files.get(path)
    if (headers['if-match'] !== undefined && (file === undefined || headers['if-match'] !== etagOf(file))) return 412
    if (headers['if-none-match'] === '*' && file !== undefined) return 412
    if (brought !== undefined && brought !== lock?.token) return 412
    return lock !== undefined && brought === undefined ? 423 : undefined
  }

  const server = createServer(async (req, res) => {
    const handler = handlers[req.method ?? '']
    try {
      if (handler === undefined) res.writeHead(405).end()
      else await handler(req, res, req.url ?? '')
    } catch {
      // Half a body is no save.
      res.destroy()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  let made = 0

  return {
    hooks,
    close(): void {
      server.closeAllConnections()
      server.close()
    },
    /** Its clock, in seconds after ours. */
    later(seconds: number): void {
      late = seconds
    },
    newFile(text: string) {
      made += 1
      const path = `/file-${made}.odt`
      files.set(path, { body: Buffer.from(text), modified: new Date('2026-01-01T00:00:00Z') })
      return {
        url: origin + path,
        content: () => files.get(path)?.body.toString('utf8'),
        lock: () => lockOf(path),
        /** Somebody else writes it, lock or no lock. */
        change: (changed: string) =>
          void files.set(path, { body: Buffer.from(changed), modified: new Date('2026-06-01T00:00:00Z') }),
      }
    },
  }
}

export type LockingSender = Awaited<ReturnType<typeof createLockingSender>>

/** One that ends with the test. */
export async function startLockingSender(): Promise<LockingSender> {
  const sender = await createLockingSender()
  onTestFinished(() => sender.close())
  return sender
}

/** Alice’s share of a file that is at another server. */
export async function launchAt(scene: WopiScene, davUri: string) {
  const made = await scene.share({ uri: `${scene.gateway.origin}/office/.ocm/open`, resource: scene.report })
  const notification = scene.alice.notification(made)
  const { webapp } = notification.protocol
  await scene.alice.provision({ ...notification, protocol: { name: 'multi', webapp, webdav: { uri: davUri } } })
  return scene.launch(await scene.token({ share: made }))
}
