import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type HeaderList,
  launch,
  type Opened,
  openWebSocket,
  type Recorder,
  type Scene,
  startScene,
} from '../flow/harness.ts'
import { openConnection } from '../flow/raw-http.ts'
import type { Recorded } from '../flow/recorder.ts'

const FORGED = 'root@evil.example'

let scene: Scene
let opened: Opened

beforeAll(async () => {
  scene = await startScene({
    webapps: {
      headers: {
        'X-WebAuth-User': '{user}',
        'X-Resource': '{resourceName}',
        'X-Twice': '{resourceName}{resourceName}',
      },
    },
  })
  opened = await scene.open()
})
afterAll(() => scene.close())

/** The same request through both doors: as the app got it, headers and all. */
async function throughBoth(headers: HeaderList, app: Recorder = scene.app): Promise<Recorded[]> {
  const plain = await scene.visit('/notes/plain', opened, { headers })
  expect(plain.status).toBe(200)
  const { Connection = 'Upgrade', ...rest } = headers
  const handshake = {
    Connection,
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    Origin: scene.gateway.origin,
  }
  const upgraded = await scene.visit('/notes/upgraded', opened, { headers: { ...handshake, ...rest } })
  expect(upgraded.status).toBe(101)
  return [app.last('/notes/plain'), app.upgrades.at(-1) as Recorded]
}

/** Every value of the headers that a CGI-style server would read under this name. */
function valuesAs(name: string, { rawHeaders }: Recorded): string[] {
  const folded = (text: string) => text.toLowerCase().replace(/[_.]/g, '-')
  return rawHeaders.filter((_, index) => index % 2 === 1 && folded(rawHeaders[index - 1] ?? '') === name)
}

describe('client sends our identity header in another spelling', () => {
  it.each([
    'X-OCM-User',
    'x-ocm-user',
    'X_OCM_User',
    'X-OCM_User',
    'X.OCM.User',
    'x.ocm-USER',
    'X_WebAuth_User',
    'x-webauth.user',
  ])('%s', async (spelling) => {
    for (const seen of await throughBoth({ [spelling]: [FORGED, FORGED] })) {
      expect(seen.rawHeaders).not.toContain(FORGED)
      const name = spelling.toLowerCase().replace(/[_.]/g, '-')
      expect(valuesAs(name, seen), name).toEqual([opened.share.shareWith])
    }
  })

  it.each(['X-OCM-Anything', 'X_OCM_Admin', 'X-Remote-User', 'Remote-User', 'REMOTE_USER', 'remote.user'])(
    '%s, which we do not set',
    async (spelling) => {
      for (const { rawHeaders } of await throughBoth({ [spelling]: FORGED })) expect(rawHeaders).not.toContain(FORGED)
    },
  )
})

describe('client sends `Connection: X-OCM-User` so that the proxy drops our header as hop-by-hop', () => {
  it.each(['x-ocm-user', 'X-OCM-User, X-OCM-Assertion', 'close, x-forwarded-for, X-WebAuth-User, Host, Cookie'])(
    'Connection: %s',
    async (named) => {
      const theirs = { 'X-OCM-User': FORGED, 'X-Own': 'mine' }
      const plain = await throughBoth({ ...theirs, Connection: `Upgrade, ${named}` })
      for (const seen of plain) {
        expect(valuesAs('x-ocm-user', seen)).toEqual([opened.share.shareWith])
        expect(valuesAs('x-ocm-assertion', seen)).toHaveLength(1)
        expect(valuesAs('x-webauth-user', seen)).toEqual([opened.share.shareWith])
        expect(valuesAs('x-forwarded-for', seen)).toEqual(['127.0.0.1'])
        expect(seen.headers.host).toBe(scene.gateway.host)
      }
    },
  )

  it('drops what the client names, if it is the client’s own', async () => {
    for (const seen of await throughBoth({ 'X-Own': 'mine', Connection: 'Upgrade, x-own' }))
      expect(seen.headers['x-own']).toBeUndefined()
  })
})

describe('identity header as a trailer', () => {
  it('request trailers are dropped', async () => {
    const connection = openConnection(scene.gateway.port)
    const head = `PUT /notes/trailers HTTP/1.1\r\nHost: ${scene.gateway.host}\r\nOrigin: ${scene.gateway.origin}\r\nCookie: ${opened.cookie}\r\n`
    const framing = 'Transfer-Encoding: chunked\r\nTrailer: X-OCM-User\r\nTE: trailers\r\n\r\n'
    connection.write(`${head}${framing}4\r\nbody\r\n0\r\nX-OCM-User: ${FORGED}\r\nX-Late: 1\r\n\r\n`)
    expect((await connection.read()).status).toBe(200)
    connection.socket.destroy()
    const seen = scene.app.last('/notes/trailers')
    expect([seen.body.toString(), seen.trailers]).toEqual(['body', {}])
    expect(seen.headers).not.toHaveProperty('trailer')
  })
})

describe('`X-Forwarded-*`, `Forwarded`, `X-Real-IP` from untrusted peers', () => {
  const forged = {
    'X-Forwarded-For': ['6.6.6.6', '7.7.7.7'],
    'X-Forwarded-Proto': 'https',
    'X-Forwarded-Host': 'evil.example',
    'X-Forwarded-Prefix': '/evil',
    X_Forwarded_For: '6.6.6.6',
    'X-Forwarded-User': FORGED,
    Forwarded: 'for=6.6.6.6;host=evil.example',
    'X-Real-IP': '6.6.6.6',
    X_Real_IP: '6.6.6.6',
  }

  it('are replaced by what is so', async () => {
    for (const seen of await throughBoth(forged)) {
      const ours = seen.rawHeaders.filter((_, index) =>
        /forwarded|real.ip/i.test(seen.rawHeaders[index - (index % 2)] ?? ''),
      )
      expect(Object.fromEntries(pairs(ours))).toEqual({
        'x-forwarded-for': '127.0.0.1',
        'x-forwarded-proto': 'http',
        'x-forwarded-host': scene.gateway.host,
        'x-forwarded-prefix': '/notes',
      })
      expect(ours).toHaveLength(8)
    }
  })

  it('never decide who may come in', async () => {
    const headers = { ...forged, Origin: 'https://evil.example' }
    expect((await scene.visit('/notes/a', opened, { method: 'POST', headers, body: 'x' })).status).toBe(403)
    expect((await scene.send('/notes/a', { headers: { ...forged, Host: 'evil.example' } })).status).toBe(421)
  })
})

function pairs(flat: readonly string[]): [string, string][] {
  return flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1] ?? ''] as [string, string]] : []))
}

describe('header injection through share fields', () => {
  it.each([
    {
      what: 'CR and LF',
      name: 'a\r\nX-OCM-User: root\r\n\r\nGET / HTTP/1.1',
      seen: 'a%0D%0AX-OCM-User: root%0D%0A%0D%0AGET / HTTP/1.1',
    },
    { what: 'NUL and DEL', name: 'a\0b\x7f', seen: 'a%00b%7F' },
    { what: 'letters beyond ASCII', name: 'Übersicht 100% 🎉', seen: '%C3%9Cbersicht 100%25 %F0%9F%8E%89' },
    { what: 'half a surrogate pair', name: 'x\ud83d', seen: 'x%EF%BF%BD' },
    { what: 'only blanks', name: '   ', seen: '' },
    { what: '4000 letters', name: 'n'.repeat(4000), seen: 'n'.repeat(1000) },
  ])('a name with $what', async ({ name, seen }) => {
    const share = await scene.share({ mode: 'self-contained' })
    const pushed = await scene.alice.provision({ ...scene.alice.notification(share), name })
    expect(pushed.status).toBe(201)
    const launched = await launch(scene.gateway, await scene.token({ share, claims: { ocm_ip: undefined } }))
    for (const target of ['/notes/plain', '/notes/live']) {
      if (target === '/notes/live') (await openWebSocket(scene.gateway, target, launched)).socket.terminate()
      else expect((await scene.visit(target, launched)).status).toBe(200)
    }
    for (const { headers } of [scene.app.last('/notes/plain'), scene.app.upgrades.at(-1) as Recorded]) {
      expect(headers['x-ocm-resource-name']).toBe(seen)
      expect(headers['x-resource']).toBe(seen)
      expect(String(headers['x-twice']).length).toBeLessThanOrEqual(1024)
      expect(headers['x-ocm-user']).toBe(share.shareWith)
    }
  })

  it('ids with line breaks, and a name of 100 KiB: encoded and short, and the gateway lives', async () => {
    const share = await scene.share({ mode: 'self-contained' })
    const providerId = 'x\r\nX-OCM-Admin: 1'
    const odd = { providerId, resourceType: 'file\r\nX-OCM-Admin: 1', name: 'n'.repeat(100 * 1024) }
    expect((await scene.alice.provision({ ...scene.alice.notification(share), ...odd })).status).toBe(201)
    const claims = { client_id: providerId, ocm_ip: undefined }
    const launched = await launch(scene.gateway, await scene.token({ share, claims }))
    expect((await scene.visit('/notes/ids', launched)).status).toBe(200)
    expect(scene.app.last('/notes/ids').headers).toMatchObject({
      'x-ocm-share-id': 'x%0D%0AX-OCM-Admin: 1',
      'x-ocm-resource-type': 'file%0D%0AX-OCM-Admin: 1',
    })
    expect(scene.app.last('/notes/ids').headers).not.toHaveProperty('x-ocm-admin')
    expect(String(scene.app.last('/notes/ids').headers['x-ocm-resource-name']).length).toBeLessThanOrEqual(1024)
    expect(scene.gateway.alive).toBe(true)
  })
})

describe('our cookies or the access token reach the app', () => {
  it('our cookies, in any order, case and number, are removed; the app’s own pass', async () => {
    const value = opened.cookie.split('=')[1] ?? ''
    const ours = [opened.cookie, `__secure-OCM-notes-00000000=${value}`, `__Secure-ocm-other-12345678=${value}`]
    for (const seen of await throughBoth({ cookie: [`a=1; ${ours.join('; ')}`, `b=2;${opened.cookie};c=3`] })) {
      expect(seen.headers.cookie).toBe('a=1; b=2; c=3')
      expect(seen.rawHeaders.join('\n')).not.toContain(value)
    }
  })

  it('the token is in nothing that the app ever got', async () => {
    await scene.visit('/notes/', opened)
    const all = [...scene.app.requests, ...scene.app.upgrades]
    for (const { rawHeaders, url, body } of all) expect(`${rawHeaders}${url}${body}`).not.toContain(opened.token)
  })

  it('the browser’s own Authorization, meant for the app, passes and is not logged', async () => {
    const headers = { Authorization: 'Basic YWxpY2U6aHVudGVyMg==' }
    await scene.visit('/notes/basic', opened, { headers })
    expect(scene.app.last('/notes/basic').headers.authorization).toBe(headers.Authorization)
    expect(scene.gateway.output.stdout).not.toContain('YWxpY2U6aHVudGVyMg')
  })
})

describe('duplicate `Host`, `Authorization`, `Content-Length`; `Host` with odd characters', () => {
  const own = () => scene.gateway.host
  it.each([
    { what: 'two hosts', headers: () => ({ Host: [own(), 'evil.example'] }) },
    { what: 'the same host twice', headers: () => ({ Host: [own(), own()] }) },
    { what: 'two Authorizations', headers: () => ({ Authorization: ['Bearer a', 'Bearer b'] }) },
    { what: 'two lengths', headers: () => ({ 'Content-Length': ['0', '5'] }) },
    { what: 'the same length twice', headers: () => ({ 'Content-Length': ['0', '0'] }) },
    { what: 'a length and chunks', headers: () => ({ 'Content-Length': '5', 'Transfer-Encoding': 'chunked' }) },
    { what: 'a length that is none', headers: () => ({ 'Content-Length': '+5' }) },
    { what: 'a chunked that is not last', headers: () => ({ 'Transfer-Encoding': 'chunked, identity' }) },
    { what: 'no host', headers: () => ({ Host: undefined }) },
    { what: 'an empty host', headers: () => ({ Host: '' }) },
    { what: 'a host with a path', headers: () => ({ Host: `${own()}/x` }) },
    { what: 'a host with userinfo', headers: () => ({ Host: `x@${own()}` }) },
    { what: 'a host with a blank', headers: () => ({ Host: `${own()} x` }) },
    { what: 'a host with a comma', headers: () => ({ Host: `${own()},evil.example` }) },
    { what: 'a host with a percent', headers: () => ({ Host: `%61${own()}` }) },
    { what: 'a host with two ports', headers: () => ({ Host: `${own()}:80` }) },
    { what: 'a host beyond ASCII', headers: () => ({ Host: 'äpps.localhost' }) },
    { what: 'a folded header', headers: () => ({ 'X-Folded': 'a\r\n b' }) },
    { what: 'a blank before the colon', headers: () => ({ 'X-OCM-User ': FORGED }) },
    { what: 'a NUL in a value', headers: () => ({ 'X-Nul': 'a\0b' }) },
  ])('$what: 400', async ({ headers }) => {
    const before = scene.app.requests.length
    expect((await scene.visit('/notes/a', opened, { headers: headers() })).status).toBe(400)
    expect(scene.app.requests.length).toBe(before)
  })
})
