import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Address,
  BOBS_CLOUD,
  form,
  type HeaderList,
  launch,
  navigation,
  type Opened,
  openWebSocket,
  type Recorder,
  type Scene,
  startScene,
} from '../flow/harness.ts'
import { until } from '../flow/until.ts'

const ROOT = join(import.meta.dirname, '../..')
const BOBS_HTTPS = BOBS_CLOUD.replace('http:', 'https:')
const PORTAL = 'https://portal.example'
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='

let scene: Scene
let opened: Opened

beforeAll(async () => {
  scene = await startScene({
    pairing: { receiverOrigins: [PORTAL] },
    webapps: ({ origin }: Address, app: Recorder) => {
      const at = (name: string, generic = {}) => ({
        name,
        kind: 'generic',
        publicUrl: `${origin}/${name}/`,
        upstream: `${app.url}${name}/`,
        generic,
        timeouts: { response: '500ms' },
      })
      const access = [{ methods: ['GET'], path: 'admin/**', permission: 'write' }]
      return [at('notes'), at('watched', { readOnly: { webSockets: true }, access })]
    },
  })
  opened = await scene.open()
})
afterAll(() => scene.close())

const seenByApp = () => scene.app.requests.length + scene.app.upgrades.length

/** Origins of other pages, as near to ours as they get. */
const foreign = () => {
  const { origin, port, host } = scene.gateway
  return [
    'null',
    '',
    'https://evil.example',
    origin.replace('http:', 'https:'),
    origin.replace(`:${port}`, ''),
    `${origin}.evil.example`,
    `${origin}/`,
    `${origin}@evil.example`,
    origin.replace('apps.', 'evil.'),
    origin.toUpperCase(),
    `${origin}, ${origin}`,
    host,
    BOBS_CLOUD,
    scene.app.url.slice(0, -1),
  ]
}

describe('WebSocket hijack: page on another origin opens `wss://app/…` and the `SameSite=None` cookie goes along', () => {
  it('`Origin` must be the webapp’s own; missing or `null` refused', async () => {
    const before = seenByApp()
    for (const origin of [...foreign(), null]) {
      const { status } = await openWebSocket(scene.gateway, '/notes/live', { cookie: opened.cookie, origin })
      expect(status, `Origin: ${origin}`).toBe(403)
    }
    const headers = { 'sec-fetch-site': 'same-origin' }
    expect(
      (await openWebSocket(scene.gateway, '/notes/live', { cookie: opened.cookie, origin: null, headers })).status,
    ).toBe(403)
    expect(seenByApp()).toBe(before)
  })

  it('without a session: 401', async () => {
    expect((await openWebSocket(scene.gateway, '/notes/live', {})).status).toBe(401)
  })
})

describe('CSRF on the app through our cookie', () => {
  const METHODS = ['POST', 'PUT', 'PATCH', 'DELETE', 'PROPPATCH', 'MKCOL', 'COPY', 'MOVE', 'LOCK', 'UNLOCK']
  const write = async (headers: HeaderList, method = 'POST') =>
    (await scene.visit('/notes/write', opened, { method, headers, body: 'x=1' })).status

  it('unsafe methods need the app’s own `Origin`', async () => {
    const before = seenByApp()
    for (const Origin of foreign()) expect(await write({ Origin, 'Sec-Fetch-Site': 'same-origin' }), Origin).toBe(403)
    for (const method of METHODS) expect(await write({ Origin: 'https://evil.example' }, method), method).toBe(403)
    expect(seenByApp()).toBe(before)
    for (const method of METHODS) expect(await write({ Origin: scene.gateway.origin }, method), method).toBe(200)
  })

  it('else `Sec-Fetch-Site: same-origin`, not `Sec-Fetch-Mode`; with neither they are refused', async () => {
    expect(await write({ 'Sec-Fetch-Site': 'same-origin' })).toBe(200)
    for (const site of ['same-site', 'cross-site', 'none', 'SAME-ORIGIN', ''])
      expect(await write({ 'Sec-Fetch-Site': site }), site).toBe(403)
    expect(await write({ 'Sec-Fetch-Mode': 'same-origin', Referer: `${scene.gateway.origin}/notes/` })).toBe(403)
    expect(await write({})).toBe(403)
  })

  it('holds for a token in the request too: an Authorization header is no proof of origin', async () => {
    expect(await write({ Authorization: 'token abcdefgh', Origin: 'https://evil.example' })).toBe(403)
  })
})

describe('another webapp on the same host drives this one', () => {
  it('`check` warns when two webapps share a host', async () => {
    const file = join(scene.gateway.folder, 'shared-host.yaml')
    const app = (name: string) => ({
      name,
      kind: 'generic',
      publicUrl: `https://a.example/${name}/`,
      upstream: `http://app/${name}/`,
    })
    const document = {
      server: { publicUrl: 'https://a.example' },
      ocmServers: [{ domain: 'c.example' }],
      webapps: [app('x'), app('y')],
    }
    writeFileSync(file, JSON.stringify(document))
    const { stderr } = await promisify(execFile)(process.execPath, [
      join(ROOT, 'src/cli.ts'),
      'check',
      '--config',
      file,
    ])
    expect(stderr).toMatch(/webapps\[1\]\.publicUrl: shares the host a\.example with webapps\[0\]/)
  })

  it('its cookie does not open this one', async () => {
    const watched = await scene.open({ uri: `${scene.gateway.origin}/watched/.ocm/open` }, { at: '/watched/.ocm/open' })
    expect((await scene.visit('/notes/a', watched)).status).toBe(401)
  })
})

describe('framing by anybody', () => {
  const ancestors = (policy: string | undefined) => /frame-ancestors ([^;]*)/.exec(policy ?? '')?.[1]
  const ofBob = `${BOBS_CLOUD} ${BOBS_HTTPS} ${PORTAL}`

  it('`frame-ancestors` is exact, from the verified share, on everything that is proxied', async () => {
    scene.app.answer('/notes/framed', (_req, res) => {
      const policies = [
        'frame-ancestors *',
        "frame-ancestors 'self' https://evil.example; default-src 'none', frame-ancestors *",
      ]
      res.writeHead(404, { 'Content-Security-Policy': policies, 'X-Frame-Options': 'ALLOWALL' }).end()
    })
    const response = await scene.visit('/notes/framed', opened)
    for (const policy of response.all('content-security-policy').flatMap((value) => value.split(',')))
      expect(ancestors(policy), policy).toBe(ofBob)
    expect(response.header('x-frame-options')).toBeUndefined()
  })

  it('proxied content never without a session', async () => {
    const before = seenByApp()
    for (const headers of [{}, navigation, { cookie: 'a=1' }, { cookie: `${opened.cookie}x` }])
      expect([401, 303]).toContain((await scene.send('/notes/framed', { headers })).status)
    expect(seenByApp()).toBe(before)
  })

  it('only our own pages without share data and without forms may be framed by others', async () => {
    const page = { accept: 'text/html' }
    const ours = [
      await scene.send('/notes/.ocm/open', { headers: page }),
      await scene.send('/notes/.ocm/expired', { headers: page }),
      await scene.send('/notes/.ocm/nothing', { headers: page }),
      (await launch(scene.gateway, 'nonsense', { headers: page })).response,
    ]
    for (const response of ours) {
      const policy = response.header('content-security-policy')
      expect(ancestors(policy)).toBe('*')
      expect(policy).toContain("default-src 'none'")
      expect(policy).toContain("form-action 'none'")
      expect(response.body.toString()).not.toContain('<form')
    }
  })

  it('once a token’s signature is verified, pages are framed by its Receiving Server only', async () => {
    const claims = { aud: opened.share.shareWith, client_id: 'unknown' }
    const unknown = await launch(scene.gateway, await scene.token({ claims }), { headers: { accept: 'text/html' } })
    expect([unknown.status, ancestors(unknown.response.header('content-security-policy'))]).toEqual([404, ofBob])
    const forged = `${await scene.token({ claims })}AAAA`
    const refused = await launch(scene.gateway, forged, { headers: { accept: 'text/html' } })
    expect([refused.status, ancestors(refused.response.header('content-security-policy'))]).toEqual([401, '*'])
  })
})

describe('open redirect through `expired_session_redirect_uri`', () => {
  const logout = async (cookie: string) => {
    const headers = { origin: scene.gateway.origin, 'sec-fetch-mode': 'navigate' }
    return (await scene.visit('/notes/.ocm/logout', { cookie }, { method: 'POST', headers })).header('location')
  }

  it.each([
    'https://evil.example/',
    'https://bob.localhost/',
    'https://bob.localhost:8444/',
    'https://bob.localhost:8443.evil.example/',
    'https://bob.localhost:8443@evil.example/',
    'https://user@bob.localhost:8443/',
    'https://user:pass@bob.localhost:8443/',
    'https://evil.example\\@bob.localhost:8443/',
    'https://bob.localhost:8443\\@evil.example/',
    'https://xbob.localhost:8443/',
    'https://x.bob.localhost:8443/',
    'javascript:alert(document.domain)',
    'JaVaScRiPt:alert(1)//https://bob.localhost:8443/',
    'data:text/html,x',
    '//evil.example/',
    '/\\evil.example/',
    '\\\\evil.example/',
    'https:evil.example',
    'https:/bob.localhost:8443/',
    'https:///evil.example/',
    ' https://evil.example/',
    'https://bob.localhost:8443/\r\nSet-Cookie: a=1',
    'https://evil.example/?https://bob.localhost:8443/',
    'https://portal.example.evil.example/',
    'http://portal.example/',
    `https://bob.localhost:8443/${'x'.repeat(3000)}`,
    '',
  ])('%s is ignored, and the launch goes on', async (uri) => {
    const { cookie, status } = await scene.open({}, { fields: { expired_session_redirect_uri: uri } })
    expect([status, await logout(cookie)]).toEqual([303, undefined])
  })

  it.each([`${BOBS_HTTPS}/a?b#c`, `${PORTAL}/sessions`, 'HTTPS://BOB.localhost:8443/x'])(
    '%s is followed',
    async (uri) => {
      const { cookie } = await scene.open({}, { fields: { expired_session_redirect_uri: uri } })
      expect(await logout(cookie)).toBe(uri)
    },
  )

  it('the expired page takes no address from its query', async () => {
    const page = await scene.send(
      '/notes/.ocm/expired?reason=revoked&returnUri=https://evil.example&to=https://evil.example',
    )
    expect(page.body.toString()).not.toContain('evil.example')
  })
})

describe('session fixation, cookie tossing', () => {
  const planted = (value: string) => ({ cookie: `${opened.cookie.split('=')[0]}=${value}` })
  const again = (headers: HeaderList) => launch(scene.gateway, opened.token, { headers })

  it('a fresh id at every launch that is not already this browser’s session for this very share', async () => {
    const chosen = 'A'.repeat(43)
    const fresh = await again(planted(chosen))
    expect(fresh.cookie).toMatch(/=[\w-]{43}$/)
    expect(fresh.cookie).not.toContain(chosen)
    expect((await scene.visit('/notes/a', planted(chosen))).status).toBe(401)
  })

  it('the session of another share, or of another person, under this share’s cookie name is not taken up', async () => {
    const other = await scene.open()
    const value = other.cookie.split('=')[1] ?? ''
    expect((await again(planted(value))).cookie).toMatch(/=[\w-]{43}$/)
    const eve = 'eve@bob.localhost:8443'
    const share = await scene.share({ mode: 'self-contained' })
    const tokenOf = (aud: string) => scene.token({ share, claims: { aud } })
    const hers = await launch(scene.gateway, await tokenOf(eve))
    const his = await launch(scene.gateway, await tokenOf(share.shareWith), { headers: { cookie: hers.cookie } })
    expect(his.cookie).toMatch(/=[\w-]{43}$/)
    expect((await scene.visit('/notes/.ocm/session', his)).json().user).toBe(share.shareWith)
    expect((await scene.visit('/notes/.ocm/session', hers)).json().user).toBe(eve)
  })

  it('a cookie we did not set means no session', async () => {
    const [name = '', value = ''] = opened.cookie.split('=')
    const hash = createHash('sha256').update(value).digest('base64url')
    const forged = [
      `${name}=${hash}`,
      `${name}=`,
      name,
      `${name}=${value}=`,
      `${name}="${value}"`,
      `ocm-notes-00000000=${value}`,
    ]
    for (const cookie of forged) expect((await scene.visit('/notes/a', { cookie })).status, cookie).toBe(401)
    const tossed = `${name}=${'B'.repeat(43)}; ${opened.cookie}`
    expect((await scene.visit('/notes/a', { cookie: tossed })).status).toBe(200)
  })
})

describe('`Upgrade: h2c` or anything but `websocket`', () => {
  const good = () => ({
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': KEY,
    Origin: scene.gateway.origin,
  })
  const handshake = (changes: HeaderList, method = 'GET') =>
    scene.visit('/notes/live', opened, { method, headers: { ...good(), ...changes } })

  it.each([
    { Upgrade: 'h2c', Connection: 'Upgrade, HTTP2-Settings', 'HTTP2-Settings': 'AAMAAABkAAQAAP__' },
    { Upgrade: 'websocket, h2c' },
    { Upgrade: ['websocket', 'h2c'] },
    { Upgrade: 'TLS/1.2' },
    { Upgrade: 'anything' },
    { 'Sec-WebSocket-Version': '8' },
    { 'Sec-WebSocket-Version': undefined },
    { 'Sec-WebSocket-Key': undefined },
    { 'Sec-WebSocket-Key': 'short' },
    { 'Sec-WebSocket-Key': [KEY, KEY] },
    { 'Content-Length': '5' },
    { 'Transfer-Encoding': 'chunked' },
  ])('%o is refused', async (changes) => {
    const before = seenByApp()
    expect((await handshake(changes)).status).toBe(400)
    expect(seenByApp()).toBe(before)
  })

  it('a handshake is a GET', async () => {
    const before = seenByApp()
    expect((await handshake({}, 'POST')).status).toBe(400)
    expect(seenByApp()).toBe(before)
    expect((await handshake({})).status).toBe(101)
  })

  it('without `Connection: Upgrade` it is a plain request, and no upgrade is asked of the app', async () => {
    const response = await scene.visit('/notes/plain', opened, { headers: { Upgrade: 'h2c', Connection: 'close' } })
    expect(response.status).toBe(200)
    expect(scene.app.last('/notes/plain').headers).not.toHaveProperty('upgrade')
    expect(scene.app.last('/notes/plain').headers.connection).not.toMatch(/upgrade/i)
  })

  it.each([
    { what: 'no Sec-WebSocket-Accept', lines: ['Upgrade: websocket'] },
    {
      what: 'a wrong Sec-WebSocket-Accept',
      lines: ['Upgrade: websocket', 'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA='],
    },
    { what: 'another protocol', lines: ['Upgrade: h2c', `Sec-WebSocket-Accept: ${acceptOf(KEY)}`] },
  ])('the upstream’s 101 with $what is not passed on', async ({ lines }) => {
    let closed = false
    scene.app.handshake('/notes/live', (_req, socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n${lines.join('\r\n')}\r\n\r\nsecret stream`,
      )
      socket.once('end', () => (closed = true)).resume()
    })
    expect([0, 502]).toContain((await handshake({})).status)
    await until('the app’s connection is closed', () => closed)
    scene.app.handshake('/notes/live', (_req, socket) => {
      socket.end(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${acceptOf(KEY)}\r\n\r\n`,
      )
    })
    expect((await handshake({})).status).toBe(101)
  })
})

function acceptOf(key: string): string {
  return createHash('sha1')
    .update(key + GUID)
    .digest('base64')
}

describe('the WebSocket path skips what HTTP checks', () => {
  let reader: Opened
  let watcher: Opened
  beforeAll(async () => {
    reader = await scene.open({ permissions: ['read'] })
    watcher = await scene.open(
      { permissions: ['view'], uri: `${scene.gateway.origin}/watched/.ocm/open` },
      { at: '/watched/.ocm/open' },
    )
  })

  /** The two doors of one path: a GET, and a handshake. */
  const doors = async (target: string, { cookie }: { cookie: string }) => {
    const { status } = await scene.visit(target, { cookie })
    const { status: upgraded, socket } = await openWebSocket(scene.gateway, target, { cookie })
    socket.terminate()
    return [status, upgraded]
  }

  it('no session, a wrong scope, an ended session: 401 by both', async () => {
    expect(await doors('/notes/x', { cookie: '' })).toEqual([401, 401])
    expect(await doors('/watched/x', reader)).toEqual([401, 401])
    const over = await scene.open()
    await scene.alice.unshare(over.share.providerId, { notify: false })
    expect(await doors('/notes/x', over)).toEqual([401, 401])
  })

  it('malformed targets and hosts: refused by both', async () => {
    const upgrade = {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': KEY,
    }
    for (const headers of [{}, { ...upgrade, Origin: scene.gateway.origin }]) {
      expect((await scene.visit('/notes/%2e%2e/x', opened, { headers })).status).toBe(400)
      expect((await scene.visit('/notes/x', opened, { headers: { ...headers, Host: 'evil.example' } })).status).toBe(
        421,
      )
    }
  })

  it('permissions: what a rule refuses to a GET, a handshake is refused too', async () => {
    expect(await doors('/notes/x', reader)).toEqual([200, 403])
    expect(await doors('/watched/x', watcher)).toEqual([200, 101])
    expect(await doors('/watched/admin/x', watcher)).toEqual([403, 403])
  })

  it('our own endpoints are no WebSockets', async () => {
    for (const target of ['/notes/.ocm/session', '/notes/.ocm/open', '/ocm/shares', '/.well-known/jwks.json'])
      expect((await openWebSocket(scene.gateway, target, opened)).status).toBe(404)
  })

  it('identity headers of the client are removed by both', async () => {
    const headers = { 'x-ocm-user': 'root@evil.example' }
    const { socket } = await openWebSocket(scene.gateway, '/notes/identity', { cookie: opened.cookie, headers })
    socket.terminate()
    expect(scene.app.upgrades.at(-1)?.headers['x-ocm-user']).toBe(opened.share.shareWith)
  })

  it('a launch form sent as a handshake opens nothing', async () => {
    const posted = form({ access_token: opened.token })
    const upgrade = { Connection: 'Upgrade', Upgrade: 'websocket' }
    const response = await scene.send('/notes/.ocm/open', { ...posted, headers: { ...posted.headers, ...upgrade } })
    expect([response.status, response.header('set-cookie')]).toEqual([400, undefined])
  })
})
