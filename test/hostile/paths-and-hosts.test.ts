import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Address,
  bytesOf,
  type Opened,
  openWebSocket,
  type Recorder,
  type Scene,
  startScene,
} from '../flow/harness.ts'
import { openConnection, sendRaw } from '../flow/raw-http.ts'

const ACCESS = [
  { methods: ['GET', 'PUT'], path: 'admin/**', permission: 'write' },
  { methods: ['GET'], path: 'deep/secret/**', permission: 'write' },
  { methods: ['PUT'], path: 'drafts/*.md', permission: 'read' },
]

let scene: Scene
let opened: Opened

beforeAll(async () => {
  scene = await startScene({
    webapps: ({ origin, port }: Address, app: Recorder) => {
      const at = (name: string, generic = {}, host = origin) => ({
        name,
        kind: 'generic',
        publicUrl: `${host}/${name}/`,
        upstream: `${app.url}${name}/`,
        generic,
      })
      return [
        at('notes', { access: ACCESS }),
        at('notes-2'),
        at('shelf', { isolation: 'path' }),
        at('elsewhere', {}, `http://other.localhost:${port}`),
      ]
    },
  })
  opened = await scene.open()
})
afterAll(() => scene.close())

const openAt = (webapp: string, wish = {}) =>
  scene.open({ uri: `${scene.gateway.origin}/${webapp}/.ocm/open`, ...wish }, { at: `/${webapp}/.ocm/open` })

/** The status of a request, and whether anything of it came to the app. */
async function tried(target: string, { cookie }: { cookie: string }, sent = {}) {
  const before = scene.app.requests.length + scene.app.upgrades.length
  const { status } = await scene.visit(target, { cookie }, sent)
  return { status, forwarded: scene.app.requests.length + scene.app.upgrades.length > before }
}

describe('dot segments, `..;/`, backslash, NUL, fragment in the request target', () => {
  it.each([
    '/notes/s/../../alice/',
    '/notes/..',
    '/notes/.',
    '/notes/./x',
    '/notes/%2e%2e/x',
    '/notes/%2E%2e',
    '/notes/%2E./x',
    '/notes/.%2e/x',
    '/notes/..;/x',
    '/notes/%2e%2e;a=b/x',
    '/notes/a/..%2fx',
    '/notes/a%2f..%2fx',
    '/notes/a%2F%2e%2e',
    '/notes/a%5c..%5cx',
    '/notes/a\\..\\x',
    '/notes/a\\x',
    '/notes/%00',
    '/notes/a%00.md',
    '/notes/a#b',
    '/notes/a?x#y',
    '/notes/%',
    '/notes/%zz',
    '/notes/%2',
    '/../notes/x',
    '/notes/.ocm/../x',
    '/notes/.ocm/%2e%2e/x',
  ])('%s: 400, by both doors', async (target) => {
    expect(await tried(target, opened)).toEqual({ status: 400, forwarded: false })
    expect([400, 0]).toContain((await handshake(target)).status)
    expect((await tried(target, opened)).forwarded).toBe(false)
  })

  it.each([
    '/notes/a%2fb',
    '/notes/a%5Cb',
    '/notes//a///b//',
    '/notes/a/%20/%C3%A9?x=%2e%2e/../&y=\\u0000',
    '/notes/%c0%ae%c0%ae/x',
    '/notes/%252e%252e/x',
    '/notes/...',
    '/notes/..a/.b/a..',
    '/notes/;a=b/x;y',
    "/notes/'()*!$&+,=:@~",
    '/notes/?',
    '/notes/??a?b',
  ])('%s is forwarded byte for byte', async (target) => {
    if (target.includes('\\')) return expect((await tried(target, opened)).status).toBe(400)
    expect(await tried(target, opened)).toEqual({ status: 200, forwarded: true })
    expect(scene.app.requests.at(-1)?.url).toBe(target)
  })

  it('an encoded slash or backslash, or an empty segment, in the part that decides about the scope: 400', async () => {
    const shelf = await openAt('shelf')
    const segment = shelf.location.split('/')[2]
    const targets = [
      '//notes/x',
      '/notes%2fx',
      '/notes%5cx',
      '/shelf%2f',
      `/shelf//${segment}/x`,
      `/shelf/%2f${segment}/x`,
      `/shelf/${segment}%2fx`,
    ]
    for (const target of targets) expect(await tried(target, shelf), target).toEqual({ status: 400, forwarded: false })
    expect((await tried(`/shelf/%7e${segment?.slice(1)}/x`, shelf)).forwarded).toBe(false)
    expect(await tried(`/shelf/${segment}//a%2fb`, shelf)).toEqual({ status: 200, forwarded: true })
    expect(scene.app.requests.at(-1)?.url).toBe('/shelf//a%2fb')
  })
})

function handshake(target: string) {
  const headers = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    Origin: scene.gateway.origin,
  }
  return scene.visit(target, opened, { headers })
}

describe('query glued to the path, rules matching the query', () => {
  let reader: Opened
  beforeAll(async () => {
    reader = await scene.open({ permissions: ['read'] })
  })

  it.each([
    { target: '/notes/admin/x', allowed: false },
    { target: '/notes/admin/x?public/y', allowed: false },
    { target: '/notes/admin/x?/../public', allowed: false },
    { target: '/notes/public/x?admin/y', allowed: true },
    { target: '/notes/public?/admin/x', allowed: true },
    { target: '/notes/%61dmin/x', allowed: false },
    { target: '/notes/admin%2fx', allowed: false },
    { target: '/notes/admin%3fx', allowed: true },
    { target: '/notes//admin/x', allowed: false },
    { target: '/notes/admin//x', allowed: false },
    { target: '/notes/deep//secret/x', allowed: false },
    { target: '/notes/deep/%2fsecret/x', allowed: false },
    { target: '/notes/admin/.env', allowed: false },
    { target: '/notes/admin/.git/config', allowed: false },
    { target: '/notes/admin/a/%ff', allowed: false },
    { target: '/notes/admin/', allowed: false },
  ])('GET $target: allowed $allowed', async ({ target, allowed }) => {
    expect(await tried(target, reader)).toEqual({ status: allowed ? 200 : 403, forwarded: allowed })
  })

  it.each([
    { target: '/notes/drafts/a.md', allowed: true },
    { target: '/notes/drafts/a.txt?.md', allowed: false },
    { target: '/notes/drafts/sub/a.md', allowed: false },
    { target: '/notes/drafts/sub%2fa.md', allowed: false },
    { target: '/notes/x?drafts/a.md', allowed: false },
    { target: '/notes/x%3f/drafts/a.md', allowed: false },
  ])('PUT $target with a rule that needs read: allowed $allowed', async ({ target, allowed }) => {
    const sent = { method: 'PUT', headers: { Origin: scene.gateway.origin }, body: 'x' }
    expect(await tried(target, reader, sent)).toEqual({ status: allowed ? 200 : 403, forwarded: allowed })
  })
})

describe('prefix confusion: session for `/user/bob/share-ab/` used on `/user/bob/share-abc/`', () => {
  it('scopes match whole segments', async () => {
    const shelf = await openAt('shelf')
    const scope = shelf.location
    for (const longer of [`${scope.slice(0, -1)}a/x`, `${scope.slice(0, -2)}/x`, scope.slice(0, -1)])
      expect(await tried(longer, shelf), longer).toEqual({ status: 401, forwarded: false })
  })

  it('webapps match whole segments', async () => {
    expect(await tried('/notes-2/x', opened)).toEqual({ status: 401, forwarded: false })
    expect(await tried('/notes', opened)).toEqual({ status: 404, forwarded: false })
    const second = await openAt('notes-2')
    expect(await tried('/notes/x', second)).toEqual({ status: 401, forwarded: false })
    expect(await tried('/notes-2/x', second)).toEqual({ status: 200, forwarded: true })
  })

  it('a session of one webapp is none at another, whatever the cookie is called', async () => {
    const value = opened.cookie.split('=')[1]
    for (const name of ['__Secure-ocm-notes-2-00000000', '__Secure-ocm-elsewhere-00000000']) {
      const target = name.includes('elsewhere') ? '/elsewhere/' : '/notes-2/'
      const headers = name.includes('elsewhere') ? { Host: `other.localhost:${scene.gateway.port}` } : {}
      expect(await tried(target, { cookie: `${name}=${value}` }, { headers })).toEqual({
        status: 401,
        forwarded: false,
      })
    }
  })
})

describe('host confusion: substring or case', () => {
  it.each([
    { what: 'upper case', host: (own: string) => own.toUpperCase(), status: 200 },
    { what: 'a subdomain', host: (own: string) => `x.${own}`, status: 421 },
    { what: 'a longer name', host: (own: string) => `x${own}`, status: 421 },
    { what: 'no port', host: (own: string) => own.replace(/:\d+$/, ''), status: 421 },
    { what: 'another port', host: (own: string) => own.replace(/:\d+$/, ':80'), status: 421 },
    { what: 'ours as a subdomain', host: (own: string) => own.replace(':', '.evil.example:'), status: 421 },
    { what: 'a dot at the end', host: (own: string) => own.replace(':', '.:'), status: 421 },
    { what: 'another letter', host: (own: string) => own.replace('apps.', 'apps_'), status: 421 },
    { what: 'another host', host: () => 'evil.example', status: 421 },
    { what: 'the address', host: (own: string) => own.replace('apps.localhost', '127.0.0.1'), status: 421 },
  ])('$what: $status', async ({ host, status }) => {
    const answer = await tried('/notes/', opened, { headers: { Host: host(scene.gateway.host) } })
    expect(answer).toEqual({ status, forwarded: status === 200 })
  })

  it('a webapp is at its own host only', async () => {
    const other = { headers: { Host: `other.localhost:${scene.gateway.port}` } }
    expect(await tried('/notes/', opened, other)).toEqual({ status: 404, forwarded: false })
    expect((await scene.send('/elsewhere/')).status).toBe(404)
    expect((await scene.send('/ocm', other)).status).toBe(404)
    expect((await scene.send('/.well-known/jwks.json', other)).status).toBe(404)
  })
})

describe('absolute-form targets, `CONNECT`, `TRACE`, lower-case or unknown methods', () => {
  it.each([
    { what: 'absolute-form', method: 'GET', target: () => `${scene.gateway.origin}/notes/` },
    { what: 'absolute-form of another host', method: 'GET', target: () => 'http://evil.example/notes/' },
    { what: 'authority-form', method: 'GET', target: () => scene.gateway.host },
    { what: 'asterisk-form', method: 'OPTIONS', target: () => '*' },
    { what: 'CONNECT', method: 'CONNECT', target: () => scene.app.url.slice(7, -1) },
    { what: 'CONNECT of a path', method: 'CONNECT', target: () => '/notes/' },
    { what: 'TRACE', method: 'TRACE', target: () => '/notes/' },
    { what: 'TRACK', method: 'TRACK', target: () => '/notes/' },
    { what: 'lower case', method: 'get', target: () => '/notes/' },
    { what: 'mixed case', method: 'Post', target: () => '/notes/' },
    { what: 'unknown', method: 'FROBNICATE', target: () => '/notes/' },
    { what: 'known to Node, not to us', method: 'PURGE', target: () => '/notes/' },
    { what: 'HTTP/2 preface', method: 'PRI', target: () => '*' },
  ])('$what', async ({ method, target }) => {
    const sent = { method, headers: { Cookie: opened.cookie, Origin: scene.gateway.origin } }
    const before = scene.app.requests.length
    const { status } = await sendRaw(scene.gateway.port, bytesOf(scene.gateway, target(), sent))
    // 0: a CONNECT is closed without an answer.
    expect(method === 'CONNECT' ? [0] : [400, 405]).toContain(status)
    expect(scene.app.requests.length).toBe(before)
  })

  it('a second request hidden in the body of a refused one is not answered', async () => {
    const connection = openConnection(scene.gateway.port)
    const hidden = bytesOf(scene.gateway, '/notes/hidden', { headers: { Cookie: opened.cookie } })
    const headers = { Connection: 'keep-alive', Cookie: opened.cookie, 'Content-Length': String(hidden.length + 10) }
    connection.write(bytesOf(scene.gateway, '/notes/%00', { method: 'PUT', headers }))
    expect((await connection.read()).status).toBe(400)
    connection.write(hidden)
    expect((await connection.read()).status).toBe(0)
    connection.socket.destroy()
    expect(scene.app.requests.map(({ url }) => url)).not.toContain('/notes/hidden')
  })
})

describe('health and metrics through the public listener', () => {
  it.each([
    '/healthz',
    '/readyz',
    '/metrics',
    '/metrics/',
    '//metrics',
    '/notes/.ocm/metrics',
    '/ocm/metrics',
    '/admin',
  ])('%s', async (target) => {
    const answer = await scene.visit(target, opened)
    expect([400, 404]).toContain(answer.status)
    expect(answer.body.toString()).not.toContain('ocm_gateway_')
  })

  it('are only on the admin listener, which serves nothing else', async () => {
    const admin = { port: Number(new URL(scene.gateway.adminUrl).port), host: scene.gateway.host, origin: '' }
    const get = async (target: string) =>
      (await sendRaw(admin.port, bytesOf(admin, target, { headers: { Cookie: opened.cookie } }))).status
    expect([await get('/healthz'), await get('/readyz'), await get('/metrics')]).toEqual([200, 200, 200])
    expect([await get('/notes/'), await get('/ocm'), await get('/.well-known/jwks.json')]).toEqual([404, 404, 404])
    expect((await openWebSocket({ ...admin, origin: scene.gateway.origin }, '/notes/live', opened)).status).not.toBe(
      101,
    )
  })
})
