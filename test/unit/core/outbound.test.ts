import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { createOutbound, isPrivateAddress, OutboundError, type OutboundRequest } from '../../../src/core/outbound.ts'
import { close } from '../../../src/demo/listen.ts'

const strict = createOutbound({ insecureLoopback: false })
const loopback = createOutbound({ insecureLoopback: true })
afterAll(() => Promise.all([strict.close(), loopback.close()]))

const LIMITS: OutboundRequest = { timeoutSeconds: 5, maxBytes: 1000, operatorNamed: true }
const STRANGER: OutboundRequest = { ...LIMITS, operatorNamed: false }

const servers: ReturnType<typeof createServer>[] = []
afterEach(() => Promise.all(servers.splice(0).map((server) => close(server))))

/** A server on this machine; `hits` are the paths it was asked for. */
async function serve(listener: RequestListener) {
  const hits: string[] = []
  const server = createServer((req, res) => {
    hits.push(req.url ?? '')
    listener(req, res)
  })
  servers.push(server)
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  return { hits, port, url: `http://127.0.0.1:${port}` }
}

const json =
  (value: unknown): RequestListener =>
  (_req, res) =>
    void res.end(JSON.stringify(value))
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error) => (error instanceof OutboundError ? error.message : Promise.reject(error)),
  )

describe('an address of our own network', () => {
  it.each([
    ...[
      '0.0.0.0',
      '10.0.0.1',
      '10.255.255.255',
      '100.64.0.1',
      '127.0.0.1',
      '127.1.2.3',
      '169.254.169.254',
      '172.16.0.1',
    ],
    ...['172.31.255.255', '192.0.0.1', '192.168.1.1', '198.18.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255'],
    ...[
      '::',
      '::1',
      '::7f00:1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '::ffff:10.0.0.1',
      '::ffff:8.8.8.8',
      '64:ff9b::a00:1',
    ],
    ...[
      '64:ff9b:1::a00:1',
      '2002:a00:1::',
      'fc00::1',
      'fd12:3456::1',
      'fe80::1',
      'fe80::1%eth0',
      'febf::1',
      'fec0::1',
      'ff02::1',
    ],
  ])('%s is private', (address) => {
    expect(isPrivateAddress(address)).toBe(true)
  })

  it.each([
    ...[
      '1.1.1.1',
      '8.8.8.8',
      '9.255.255.255',
      '11.0.0.0',
      '100.63.255.255',
      '100.128.0.0',
      '126.255.255.255',
      '128.0.0.0',
    ],
    ...['169.253.255.255', '172.15.255.255', '172.32.0.0', '192.167.255.255', '193.0.0.1', '223.255.255.255'],
    ...['2606:4700:4700::1111', '2001:4860:4860::8888', '2a00::1', '2003::1', 'fbff::1'],
  ])('%s is not', (address) => {
    expect(isPrivateAddress(address)).toBe(false)
  })
})

describe('a host that nobody named', () => {
  it.each([
    ...[
      '127.0.0.1',
      '127.1',
      '2130706433',
      '0x7f000001',
      '0177.0.0.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
    ],
    ...['10.0.0.1', '169.254.169.254', '0.0.0.0', '[fe80::1]'],
  ])('https://%s is refused without a connection', async (host) => {
    const { hits, port } = await serve(json({}))
    expect(await failure(strict.getJson(`https://${host}:${port}/`, STRANGER))).toMatch(/ is a private address$/)
    expect(hits).toEqual([])
  })

  it.each(['localhost', 'cloud.localhost'])('%s, a name of a loopback address, is refused too', async (host) => {
    const { port } = await serve(json({}))
    expect(await failure(strict.getJson(`https://${host}:${port}/`, STRANGER))).toMatch(/has only private addresses/)
  })

  it('is never spoken to over http', async () => {
    const { hits, url } = await serve(json({}))
    expect(await failure(strict.getJson(url, STRANGER))).toMatch(/is not https$/)
    expect(await failure(strict.getJson('http://cloud.example/', STRANGER))).toBe('http://cloud.example is not https')
    expect(hits).toEqual([])
  })

  it('may be this machine in a test set-up, by a loopback name only', async () => {
    const { port } = await serve(json({ ok: true }))
    expect(await loopback.getJson(`http://cloud.localhost:${port}/`, STRANGER)).toEqual({ ok: true })
    expect(await loopback.getJson(`http://127.0.0.1:${port}/`, STRANGER)).toEqual({ ok: true })
    expect(await failure(loopback.getJson(`http://10.0.0.1:${port}/`, STRANGER))).toMatch(/is not https$/)
    expect(await failure(loopback.getJson(`https://10.0.0.1:${port}/`, STRANGER))).toMatch(/is a private address$/)
  })
})

describe('a host that the operator named', () => {
  it('may be private, and plain http', async () => {
    const { url, port } = await serve(json({ ok: true }))
    expect(await strict.getJson(url, LIMITS)).toEqual({ ok: true })
    expect(await strict.getJson(`http://hub.localhost:${port}/`, LIMITS)).toEqual({ ok: true })
  })

  it.each(['ftp://127.0.0.1/', 'file:///etc/passwd', 'data:application/json,{}', 'no url'])(
    'but never %s',
    async (url) => {
      expect(await failure(strict.getJson(url, LIMITS))).not.toBe('ok')
    },
  )

  it('shows a certificate that we trust', async () => {
    const { url } = await serve(json({}))
    expect(await failure(strict.getJson(url.replace('http:', 'https:'), LIMITS))).toMatch(/fetch failed/)
  })
})

describe('a redirect', () => {
  const to =
    (location: string, status = 302): RequestListener =>
    (req, res) =>
      req.url === '/end' ? void res.end('{"ok":true}') : void res.writeHead(status, { location }).end()

  it.each([301, 302, 303, 307, 308])('%d on the same origin is followed', async (status) => {
    const { url, hits } = await serve(to('/end', status))
    expect(await strict.getJson(`${url}/start`, LIMITS)).toEqual({ ok: true })
    expect(hits).toEqual(['/start', '/end'])
  })

  it('to another origin is refused, and not asked', async () => {
    const other = await serve(json({}))
    const { url } = await serve(to(`${other.url}/end`))
    expect(await failure(strict.getJson(url, LIMITS))).toBe(`${url} redirects to ${other.url}`)
    expect(other.hits).toEqual([])
  })

  it.each(['https://127.0.0.1:1/', '//127.0.0.1:1/', 'http://169.254.169.254/latest', 'http://[bad'])(
    'to %s is refused',
    async (location) => {
      const { url, hits } = await serve(to(location))
      expect(await failure(strict.getJson(`${url}/start`, LIMITS))).not.toBe('ok')
      expect(hits).toEqual(['/start'])
    },
  )

  it('is followed three times, no more', async () => {
    const { url, hits } = await serve((req, res) => res.writeHead(302, { location: `${req.url}x` }).end())
    expect(await failure(strict.getJson(`${url}/`, LIMITS))).toMatch(/redirects to/)
    expect(hits).toEqual(['/', '/x', '/xx', '/xxx'])
  })

  it('of a POST is refused: the body would go along', async () => {
    const { url, hits } = await serve(to('/end', 307))
    const post = strict.request(`${url}/start`, { method: 'POST', body: 'token=secret' }, LIMITS)
    expect(await failure(post)).toMatch(/redirects to/)
    expect(hits).toEqual(['/start'])
  })

  it('without a Location is an answer like any other', async () => {
    const { url } = await serve((_req, res) => res.writeHead(304).end())
    expect(await strict.request(url, {}, LIMITS)).toMatchObject({ status: 304 })
    expect(await failure(strict.getJson(url, LIMITS))).toBe(`${url} answered 304`)
  })
})

describe('an answer', () => {
  it('of exactly the limit is read, one byte more is not', async () => {
    const { url } = await serve((req, res) => res.end('x'.repeat(Number(req.url?.slice(1)))))
    expect((await strict.request(`${url}/1000`, {}, LIMITS)).body).toHaveLength(1000)
    expect(await failure(strict.request(`${url}/1001`, {}, LIMITS))).toBe('the answer is larger than 1000 bytes')
  })

  it('is measured as it is unpacked', async () => {
    const { url } = await serve((_req, res) =>
      res.setHeader('content-encoding', 'gzip').end(gzipSync(Buffer.alloc(100_000))),
    )
    expect(await failure(strict.request(url, {}, LIMITS))).toBe('the answer is larger than 1000 bytes')
  })

  it('without end stops at the limit', async () => {
    let closed = false
    const { url } = await serve((_req, res) => {
      const timer = setInterval(() => res.write('x'.repeat(600)), 5)
      res.on('close', () => {
        closed = true
        clearInterval(timer)
      })
    })
    expect(await failure(strict.request(url, {}, LIMITS))).toBe('the answer is larger than 1000 bytes')
    await expect.poll(() => closed).toBe(true)
  })

  it.each([
    ['that never comes', (() => {}) as RequestListener],
    ['whose body never ends', ((_req, res) => void res.write('{')) as RequestListener],
  ])('%s ends with the time limit', async (_what, listener) => {
    const { url } = await serve(listener)
    const begun = performance.now()
    expect(await failure(strict.getJson(url, { ...LIMITS, timeoutSeconds: 0.2 }))).toMatch(/abort|timeout/i)
    expect(performance.now() - begun).toBeLessThan(2000)
  })

  it.each([
    ['another status', ((_req, res) => void res.writeHead(500).end('{}')) as RequestListener, / answered 500$/],
    ['a page', ((_req, res) => void res.end('<html>')) as RequestListener, / did not answer JSON$/],
    ['a cut connection', ((req) => void req.socket.destroy()) as RequestListener, /fetch failed/],
  ])('with %s is an OutboundError', async (_what, listener, message) => {
    const { url } = await serve(listener)
    expect(await failure(strict.getJson(url, LIMITS))).toMatch(message)
  })

  it('comes with its status and headers', async () => {
    const { url } = await serve((_req, res) => res.writeHead(404, { 'x-a': 'b' }).end('gone'))
    const { status, headers, body } = await strict.request(url, {}, LIMITS)
    expect([status, headers.get('x-a'), String(body)]).toEqual([404, 'b', 'gone'])
  })
})
