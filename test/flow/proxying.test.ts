import { createHash, randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Address,
  BOB,
  BOBS_CLOUD,
  bytesOf,
  type Opened,
  openWebSocket,
  type Recorder,
  type Scene,
  startScene,
  stream,
} from './harness.ts'
import { openConnection } from './raw-http.ts'
import { rawValues } from './recorder.ts'
import { until } from './until.ts'

const MEBIBYTE = 1024 * 1024
const HEADERS = {
  'Remote-User': '{userId}',
  'X-WebAuth-Groups': 'ocm,{userHost},{permissions}',
  'X-Title': '{resourceName} of {owner}',
}
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

let scene: Scene
let opened: Opened

beforeAll(async () => {
  scene = await startScene({
    webapps: ({ origin }: Address, app: Recorder) => [
      {
        name: 'notes',
        kind: 'generic',
        publicUrl: `${origin}/notes/`,
        upstream: `${app.url}notes/`,
        headers: HEADERS,
        timeouts: { response: '1s' },
      },
      { name: 'deep', kind: 'generic', publicUrl: `${origin}/deep/`, upstream: app.url, generic: { stripPath: true } },
      // Nobody listens on port 9 (discard).
      { name: 'down', kind: 'generic', publicUrl: `${origin}/down/`, upstream: 'http://127.0.0.1:9/down/' },
    ],
  })
  opened = await scene.open()
})
afterAll(() => scene.close())

const openAt = (webapp: string) =>
  scene.open({ uri: `${scene.gateway.origin}/${webapp}/.ocm/open` }, { at: `/${webapp}/.ocm/open` })

describe('what the app receives', () => {
  it('X-OCM headers about the user and the share, and how the request came', async () => {
    await scene.visit('/notes/headers', opened)
    expect(scene.app.last('/notes/headers').headers).toMatchObject({
      host: scene.gateway.host,
      'x-ocm-user': BOB,
      'x-ocm-owner': scene.alice.address,
      'x-ocm-sender-domain': scene.alice.domain,
      'x-ocm-share-id': opened.share.providerId,
      'x-ocm-provider-id': opened.share.providerId,
      'x-ocm-resource-name': 'Field notes.md',
      'x-ocm-resource-type': 'file',
      'x-ocm-permissions': 'view,read,write',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': scene.gateway.host,
      'x-forwarded-prefix': '/notes',
    })
  })

  it('an assertion that it can verify with our published keys alone', async () => {
    await scene.visit('/notes/assertion', opened)
    const assertion = String(scene.app.last('/notes/assertion').headers['x-ocm-assertion'])
    const published = await scene.send('/.well-known/jwks.json')
    const { payload, protectedHeader } = await jwtVerify(assertion, createLocalJWKSet(published.json() as never), {
      issuer: scene.gateway.origin,
      audience: 'notes',
    })
    expect(payload).toMatchObject({
      sub: BOB,
      share: { id: opened.share.providerId, owner: scene.alice.address, permissions: ['view', 'read', 'write'] },
    })
    expect((payload.exp ?? 0) - Date.now() / 1000).toBeLessThanOrEqual(300)
    expect(protectedHeader.kid).toMatch(new RegExp(`^${scene.gateway.host}#[\\w-]{43}$`))
    expect(published.header('cache-control')).toContain('max-age')
  })

  it('headers from the templates of the configuration, over whatever the client sent', async () => {
    await scene.visit('/notes/templates', opened, { headers: { 'remote-user': 'root', 'x-title': 'mine' } })
    expect(scene.app.last('/notes/templates').headers).toMatchObject({
      'remote-user': 'bob',
      'x-webauth-groups': 'ocm,bob.localhost:8443,view,read,write',
      'x-title': `Field notes.md of ${scene.alice.address}`,
    })
  })

  it('its own cookies and not ours', async () => {
    await scene.visit('/notes/cookies', { cookie: `theme=dark; ${opened.cookie}; sid=1` })
    expect(scene.app.last('/notes/cookies').headers.cookie).toBe('theme=dark; sid=1')
    await scene.visit('/notes/cookies', opened)
    expect(scene.app.last('/notes/cookies').headers.cookie).toBeUndefined()
  })

  it('a Destination of its own (WebDAV), and every value of a repeated header', async () => {
    const { origin } = scene.gateway
    const headers = { origin, Destination: `${origin}/notes/b.txt`, 'X-Many': ['1', '2'] }
    await scene.visit('/notes/a.txt', opened, { method: 'MOVE', headers })
    const seen = scene.app.last('/notes/a.txt')
    expect(seen.headers.destination).toBe(`${scene.app.url}notes/b.txt`)
    expect(rawValues(seen, 'X-Many')).toEqual(['1', '2'])
  })

  it('with a stripped path: the path below it, and the prefix in a header', async () => {
    await scene.visit('/deep/x/y?z', await openAt('deep'))
    expect(scene.app.last('/x/y')).toMatchObject({ url: '/x/y?z', headers: { 'x-forwarded-prefix': '/deep' } })
  })
})

describe('what the browser receives', () => {
  const answering = async (headers: Record<string, string | string[]>, path = '/notes/answer') => {
    scene.app.answer(path, (_req, res) => void res.writeHead(200, headers).end())
    return scene.visit(path, opened)
  }

  it('framing as the share allows it: by the Receiving Server, and by nobody else', async () => {
    const policy = "default-src 'self'; frame-ancestors *; report-uri /csp; img-src *"
    const response = await answering({ 'X-Frame-Options': 'DENY', 'Content-Security-Policy': policy })
    const https = BOBS_CLOUD.replace('http:', 'https:')
    expect(response.header('x-frame-options')).toBeUndefined()
    expect(response.all('content-security-policy')).toEqual([
      `default-src 'self'; img-src *; frame-ancestors ${BOBS_CLOUD} ${https}`,
    ])
    expect((await answering({})).header('content-security-policy')).toBe(`frame-ancestors ${BOBS_CLOUD} ${https}`)
  })

  it('no framing at all for a share that opens in tabs only', async () => {
    const blank = await scene.open({ targets: ['blank'] }, { headers: { 'sec-fetch-dest': 'document' } })
    scene.app.answer(
      '/notes/blank',
      (_req, res) => void res.writeHead(200, { 'Set-Cookie': 'a=1; SameSite=Lax' }).end(),
    )
    const response = await scene.visit('/notes/blank', blank)
    expect(response.header('content-security-policy')).toBe("frame-ancestors 'none'")
    expect(response.header('set-cookie')).toBe('a=1; Path=/notes/; SameSite=Lax')
  })

  it('Referrer-Policy: no-referrer, unless the app has another', async () => {
    expect((await answering({})).all('referrer-policy')).toEqual(['no-referrer'])
    expect((await answering({ 'Referrer-Policy': 'origin' })).all('referrer-policy')).toEqual(['origin'])
  })

  it.each([
    { cookie: 'a=1', seen: 'a=1; Path=/notes/; Secure; SameSite=None; Partitioned' },
    { cookie: 'a=1; Domain=hub.internal; Path=/', seen: 'a=1; Path=/notes/; Secure; SameSite=None; Partitioned' },
    {
      cookie: 'a=1; Path=/notes/sub; HttpOnly; SameSite=Strict; Max-Age=5',
      seen: 'a=1; Path=/notes/sub; HttpOnly; Max-Age=5; Secure; SameSite=None; Partitioned',
    },
  ])('the app’s cookie $cookie in a frame', async ({ cookie, seen }) => {
    const response = await answering({ 'Set-Cookie': [cookie, 'z=9; Secure'] })
    expect(response.all('set-cookie')[0]).toBe(seen)
    expect(response.all('set-cookie')).toHaveLength(2)
  })

  it('URLs of the app as the browser reaches them', async () => {
    const { url } = scene.app
    const { origin } = scene.gateway
    const response = await answering({
      Location: `${url}notes/there?back=${encodeURIComponent(url)}`,
      'Content-Location': `${url}notes/here`,
      Link: `<${url}notes/next>; rel=next, <https://elsewhere.example/>; rel=help`,
      Refresh: `5; url=${url}notes/later`,
    })
    expect(response.header('location')).toBe(`${origin}/notes/there?back=${encodeURIComponent(url)}`)
    expect(response.header('content-location')).toBe(`${origin}/notes/here`)
    expect(response.header('link')).toBe(`<${origin}/notes/next>; rel=next, <https://elsewhere.example/>; rel=help`)
    expect(response.header('refresh')).toBe(`5; url=${origin}/notes/later`)
    expect((await answering({ Location: 'https://elsewhere.example/notes/' })).header('location')).toBe(
      'https://elsewhere.example/notes/',
    )
  })

  it('headers byte for byte, also beyond ASCII', async () => {
    const disposition = 'attachment; filename="\xdcbersicht \xe2\x9c\x93.txt"'
    scene.app.answer('/notes/file', (_req, res) => {
      const head = `HTTP/1.1 200 OK\r\nContent-Disposition: ${disposition}\r\nContent-Length: 0\r\n\r\n`
      res.socket?.end(Buffer.from(head, 'latin1'))
    })
    expect((await scene.visit('/notes/file', opened)).header('content-disposition')).toBe(disposition)
  })

  it('with a stripped path: Location and cookie paths with the prefix put back', async () => {
    const deep = await openAt('deep')
    scene.app.answer('/login', (_req, res) => {
      res.writeHead(302, { Location: '/home?x', 'Set-Cookie': ['a=1; Path=/', 'b=2; Path=/sub'] }).end()
    })
    const response = await scene.visit('/deep/login', deep)
    expect(response.header('location')).toBe('/deep/home?x')
    const paths = response.all('set-cookie').map((line) => /Path=([^;]*)/.exec(line)?.[1])
    expect(paths).toEqual(['/deep/', '/deep/sub'])
  })
})

describe('bodies', () => {
  it('HEAD, 204 and 304 have none, and the connection goes on', async () => {
    scene.app.answer(
      '/notes/big',
      (_req, res) => void res.writeHead(200, { 'Content-Length': '5', ETag: '"1"' }).end('12345'),
    )
    scene.app.answer('/notes/204', (_req, res) => void res.writeHead(204, { 'X-App': '1' }).end())
    scene.app.answer('/notes/304', (_req, res) => void res.writeHead(304, { ETag: '"1"' }).end())
    const connection = openConnection(scene.gateway.port)
    const ask = (method: string, path: string) => {
      const headers = { Connection: undefined, Cookie: opened.cookie }
      connection.write(bytesOf(scene.gateway, path, { method, headers }))
      return connection.read(method)
    }
    const head = await ask('HEAD', '/notes/big')
    expect([head.status, head.header('content-length')]).toEqual([200, '5'])
    expect(await ask('GET', '/notes/204')).toMatchObject({ status: 204, body: Buffer.alloc(0) })
    expect(await ask('GET', '/notes/304')).toMatchObject({ status: 304, body: Buffer.alloc(0) })
    expect((await ask('GET', '/notes/big')).body.toString()).toBe('12345')
    connection.socket.destroy()
  })

  it('Expect: 100-continue is answered before the body is sent, and the app gets the body', async () => {
    const connection = openConnection(scene.gateway.port)
    const headers = {
      Cookie: opened.cookie,
      Origin: scene.gateway.origin,
      Expect: '100-continue',
      'Content-Length': '4',
    }
    connection.write(bytesOf(scene.gateway, '/notes/continue', { method: 'PUT', headers }))
    expect((await connection.readAny()).status).toBe(100)
    connection.write('body')
    expect((await connection.read()).status).toBe(200)
    expect(scene.app.last('/notes/continue').body.toString()).toBe('body')
    connection.socket.destroy()
  })

  it('server-sent events pass as they come', async () => {
    const sent: (() => void)[] = []
    scene.app.answer('/notes/sse', (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      sent.push(() => res.write('data: tick\n\n'))
      res.flushHeaders()
    })
    const events = await stream(scene.gateway, '/notes/sse', { cookie: opened.cookie })
    const chunks = events.setEncoding('utf8')[Symbol.asyncIterator]()
    for (let tick = 0; tick < 3; tick++) {
      sent[0]?.()
      expect((await chunks.next()).value).toBe('data: tick\n\n')
    }
    events.destroy()
  })

  it('a download of 24 MiB comes whole, and the app is held back while the client does not read', async () => {
    const bytes = randomBytes(24 * MEBIBYTE)
    let unsent = () => 0
    scene.app.answer('/notes/download', (_req, res) => {
      res.writeHead(200, { 'content-length': bytes.length }).end(bytes)
      unsent = () => res.writableLength
    })
    const response = await stream(scene.gateway, '/notes/download', { cookie: opened.cookie })
    const seen: number[] = []
    await until('the app is held back', () => {
      seen.push(unsent())
      return seen.length >= 10 && new Set(seen.slice(-10)).size === 1
    })
    expect(unsent()).toBeGreaterThan(8 * MEBIBYTE)
    const received = Buffer.concat(await response.toArray())
    expect([received.length, sha256(received)]).toEqual([bytes.length, sha256(bytes)])
  })

  it.each(['with Content-Length', 'in chunks'])('an upload of 16 MiB %s comes whole', async (how) => {
    const bytes = randomBytes(16 * MEBIBYTE)
    const headers = { host: scene.gateway.host, cookie: opened.cookie, origin: scene.gateway.origin }
    const length = how === 'in chunks' ? {} : { 'content-length': bytes.length }
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const upload = httpRequest(
        {
          port: scene.gateway.port,
          method: 'PUT',
          path: '/notes/upload',
          headers: { ...headers, ...length },
          agent: false,
        },
        (res) => res.resume().once('end', () => resolve(res.statusCode)),
      ).on('error', reject)
      for (let at = 0; at < bytes.length; at += MEBIBYTE) upload.write(bytes.subarray(at, at + MEBIBYTE))
      upload.end()
    })
    const { body } = scene.app.last('/notes/upload')
    expect([status, body.length, sha256(body)]).toEqual([200, bytes.length, sha256(bytes)])
  })

  it('a compressed answer is passed on as it is', async () => {
    scene.app.answer(
      '/notes/gzip',
      (_req, res) => void res.writeHead(200, { 'content-encoding': 'gzip' }).end(Buffer.from([31, 139, 255, 0])),
    )
    const response = await scene.visit('/notes/gzip', opened, { headers: { 'accept-encoding': 'gzip' } })
    expect([response.header('content-encoding'), response.body]).toEqual(['gzip', Buffer.from([31, 139, 255, 0])])
    expect(scene.app.last('/notes/gzip').headers['accept-encoding']).toBe('gzip')
  })
})

describe('when the app fails', () => {
  it('not running: 502, as a page for people and as JSON for programs', async () => {
    const down = await openAt('down')
    const page = await scene.visit('/down/', down, { headers: { accept: 'text/html' } })
    expect([page.status, page.header('content-type')]).toEqual([502, 'text/html; charset=utf-8'])
    expect(page.body.toString()).not.toContain('127.0.0.1')
    const problem = await scene.visit('/down/', down)
    expect([problem.status, problem.json().reason]).toEqual([502, 'upstream_unreachable'])
    expect((await openWebSocket(scene.gateway, '/down/ws', down)).status).toBe(502)
  })

  it('silent: 504 after the response timeout', async () => {
    scene.app.answer('/notes/silent', () => {})
    expect((await scene.visit('/notes/silent', opened)).status).toBe(504)
  })

  it('half an answer is never taken for a whole one', async () => {
    scene.app.answer('/notes/half', (_req, res) => {
      res.writeHead(200, { 'content-length': '100' }).write('half')
      setImmediate(() => res.socket?.destroy())
    })
    scene.app.answer('/notes/half-chunked', (_req, res) => {
      res.writeHead(200).write('half')
      setImmediate(() => res.socket?.destroy())
    })
    for (const path of ['/notes/half', '/notes/half-chunked']) {
      const response = await stream(scene.gateway, path, { cookie: opened.cookie })
      await expect(response.toArray(), path).rejects.toThrow('aborted')
    }
  })

  it('gibberish: 502', async () => {
    scene.app.answer('/notes/gibberish', (_req, res) => void res.socket?.end('what?\r\n\r\n'))
    expect((await scene.visit('/notes/gibberish', opened)).status).toBe(502)
  })

  it('a WebSocket that the app refuses: its own answer', async () => {
    scene.app.handshake('/notes/refused', (_req, socket) => {
      socket.end('HTTP/1.1 418 Teapot\r\nX-Frame-Options: DENY\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno')
    })
    expect((await openWebSocket(scene.gateway, '/notes/refused', opened)).status).toBe(418)
  })

  it('an app that comes back is reached again', async () => {
    scene.app.answer('/notes/flaky', (req) => void req.socket.destroy())
    expect((await scene.visit('/notes/flaky', opened)).status).toBe(502)
    scene.app.answer('/notes/flaky', (_req, res) => void res.end('back'))
    await until('the app is reached again', async () => (await scene.visit('/notes/flaky', opened)).status === 200)
  })
})
