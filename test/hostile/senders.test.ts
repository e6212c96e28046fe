import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createOutbound } from '../../src/core/outbound.ts'
import { Secret } from '../../src/core/secret.ts'
import { createWebdav } from '../../src/resources/webdav.ts'
import { startHosts } from '../unit/apps/wopi/rig.ts'

const FILE = '/dav/file.odt'

const described = (href: string, properties: string) =>
  `<d:response><d:href>${href}</d:href><d:propstat><d:prop>${properties}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`

const multistatus = (...responses: string[]) =>
  `<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">${responses.join('')}</d:multistatus>`

const sized = (bytes: number, etag = '"a"') =>
  `<d:resourcetype/><d:getcontentlength>${bytes}</d:getcontentlength><d:getetag>${etag}</d:getetag>`

/** A resource at a WebDAV server that answers as the test says. */
async function reaching(handler: RequestListener) {
  const server = createServer(handler).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const outbound = createOutbound({ insecureLoopback: true })
  onTestFinished(async () => {
    await outbound.destroy()
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/dav/`
  return createWebdav({ url, outbound, operatorNamed: true, token: async () => new Secret('bearer') })
}

const answering = (xml: string): RequestListener => {
  return (_req, res) => res.writeHead(207, { 'content-type': 'application/xml' }).end(xml)
}

/** The longest time that this process did nothing else, in milliseconds. */
async function longestStall(work: () => Promise<unknown>): Promise<number> {
  let [longest, last] = [0, performance.now()]
  const look = () => {
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }
  const timer = setInterval(look, 5)
  await work()
  look()
  clearInterval(timer)
  return longest
}

describe('a hostile sender', () => {
  it('lists a huge folder: everybody else is served meanwhile', async () => {
    const names = Array.from({ length: 60_000 }, (_, index) => described(`/dav/${index}.odt`, sized(index)))
    const resource = await reaching(answering(multistatus(...names)))
    let found = 0
    const stall = await longestStall(async () => {
      found = (await resource.list(resource.url)).length
    })
    expect(found).toBe(60_000)
    expect(stall).toBeLessThan(1000)
  })

  it.each([
    ['processing instructions', '<?x y?>'],
    ['empty elements', 'x<b/>'],
    ['character references', '&#x41;'],
  ])('puts megabytes of %s into one description: it is refused at once', async (_what, junk) => {
    const xml = multistatus(described('/dav/', `<d:resourcetype/>${junk.repeat(2_000_000 / junk.length)}`))
    const resource = await reaching(answering(xml))
    const stall = await longestStall(async () => {
      await expect(resource.stat(resource.url)).rejects.toMatchObject({ failure: 'refused' })
    })
    expect(stall).toBeLessThan(1000)
  })

  it.each([
    ['of ten kilobytes', `"${'e'.repeat(10_000)}"`],
    ['with a line break', '"a\r\nx-injected: yes"'],
    ['beyond Latin-1', '"\u{1f600}"'],
  ])('sends an ETag %s: it is not taken, and saving goes on without it', async (_what, etag) => {
    let saved: string | undefined
    const hosts = await startHosts((req, res, next) => {
      if (req.method === 'PROPFIND') {
        const properties = `${sized(5, etag)}<d:getlastmodified>Mon, 12 Jan 2026 09:25:56 GMT</d:getlastmodified>`
        return void res.status(207).end(multistatus(described(FILE, properties)))
      }
      if (req.method === 'GET') return void res.end('alice')
      if (req.method === 'PUT') saved = String(req.body)
      next()
    })
    const { status, version } = await hosts.read(0)
    expect([status, version?.length]).toEqual([200, expect.any(Number)])
    expect(version?.length).toBeLessThan(200)
    await hosts.lock(0, 'A')
    expect((await hosts.save(0, 'by bob', 'A')).status).toBe(200)
    expect(saved).toBe('by bob')
  })

  it('serves more than it said, and more than this gateway opens: the editor gets no whole file', async () => {
    const hosts = await startHosts(
      (req, res, next) => {
        if (req.method === 'PROPFIND') return void res.status(207).end(multistatus(described(FILE, sized(5))))
        if (req.method !== 'GET') return next()
        const more = setInterval(() => res.write('x'.repeat(64 * 1024)), 1)
        res.on('close', () => clearInterval(more))
      },
      { maxFileSize: '1MiB' },
    )
    await expect(hosts.read(0)).rejects.toThrow(/terminated|fetch failed/)
  })
})
