import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { beforeAll, describe, expect, it } from 'vitest'
import type { AppRequest } from '../../../../src/apps/app.ts'
import { decodePath, parseTarget } from '../../../../src/proxy/target.ts'
import { loadSigningKey, type SigningKey } from '../../../../src/trust/signing-key.ts'
import { createClock, grantOf, START, sessionOf, shareOf } from '../../fixtures.ts'
import { genericApp } from './webapp.ts'

const MINE = '/notes/~0123456789abcdef/'

describe('the scope of a share', () => {
  it('is the whole app without isolation, whoever asks', () => {
    const app = genericApp()
    expect(app.scopeFor(grantOf())).toBe('/notes/')
    expect(app.scopeFor(grantOf({ shareId: '43' }))).toBe('/notes/')
    expect(app.mount('/notes/')).toEqual({ public: '/notes/', upstream: '/notes/' })
  })

  it('is one segment of its own with isolation: path', () => {
    const app = genericApp({ upstream: 'http://app:8000/' }, { isolation: 'path' })
    const grants = [
      {},
      { shareId: '43' },
      { senderDomain: 'other.example' },
      { user: 'carol@bob.example' },
      { instance: 'second' },
      { shareId: '42","bob' },
    ]
    const scopes = grants.map((change) => app.scopeFor(grantOf(change)))
    expect(new Set(scopes).size).toBe(grants.length)
    for (const scope of scopes) {
      expect(scope).toMatch(/^\/notes\/~[0-9a-f]{16}\/$/)
      expect(app.scopeOf(scope)).toBe(scope)
      expect(app.mount(scope)).toEqual({ public: scope, upstream: '/' })
    }
    expect(app.scopeFor(grantOf())).toBe(scopes[0])
  })

  it.each([
    ['/notes/', '/notes/'],
    ['/notes/a/b', '/notes/'],
    ['/notes/%2e', '/notes/'],
    ['/notes', undefined],
    ['/notesevil/', undefined],
    ['/Notes/', undefined],
    ['/%6eotes/', undefined],
    ['/notes%2fa', undefined],
    ['/', undefined],
    ['//notes/', undefined],
  ])('of the path %s is %s without isolation', (path, scope) => {
    expect(genericApp().scopeOf(path)).toBe(scope)
  })

  it.each([
    [MINE, MINE],
    [`${MINE}a/../b`, MINE],
    [MINE.slice(0, -1), undefined],
    [`${MINE.slice(0, -2)}/`, undefined],
    [MINE.toUpperCase().replace('/NOTES/', '/notes/'), undefined],
    [MINE.replace('~', '%7e'), undefined],
    [MINE.replace('~0', '~%30'), undefined],
    [`${MINE.slice(0, -1)}%2fa`, undefined],
    [`/notes/${MINE.slice(1)}`, undefined],
    [`/notes//${MINE.slice('/notes/'.length)}`, undefined],
    ['/notes/', undefined],
    ['/notes/a', undefined],
  ])('of the path %s is %s with isolation: path', (path, scope) => {
    expect(genericApp({}, { isolation: 'path' }).scopeOf(path)).toBe(scope)
  })
})

describe('where a launch ends', () => {
  it.each([
    ['', '', '/notes/'],
    ['', 'a/b.md', '/notes/a/b.md'],
    ['edit', '', '/notes/edit'],
    ['edit/', '', '/notes/edit/'],
    ['edit', 'a.md', '/notes/edit/a.md'],
    ['edit/', 'a.md', '/notes/edit/a.md'],
    ['/edit//', 'a.md', '/notes/edit/a.md'],
    ['', 'a b/ü#?%.md', '/notes/a%20b/%C3%BC%23%3F%25.md'],
    ['', '\u{1f4d3}', '/notes/%F0%9F%93%93'],
    ['', "it's (1)!", "/notes/it's%20(1)!"],
  ])('landing %j and suffix %j: %s', async (landing, suffix, expected) => {
    const app = genericApp({}, { landing })
    expect(await app.ready(sessionOf({ suffix }))).toBe(expected)
    expect(await app.prepare(sessionOf({ suffix }), () => {})).toBe(expected)
  })
})

/** The permission that a request on the wire needs, found as the proxy finds it. */
function needed(
  target: string,
  options: Parameters<typeof genericApp>[1] = {},
  request: Partial<AppRequest> = {},
): string {
  const { path } = parseTarget(`/notes/${target}`)
  const relative = decodePath(path.slice('/notes/'.length))
  return genericApp({}, options).authorize(sessionOf(), { method: 'GET', upgrade: false, path: relative, ...request })
}

describe('the permission that a request needs', () => {
  it.each([
    ...['GET', 'HEAD', 'OPTIONS'].map((method) => [method, 'view']),
    ...['POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'MKCOL', 'MOVE', 'LOCK', 'REPORT', 'SEARCH', 'UNKNOWN'].map(
      (method) => [method, 'write'],
    ),
  ])('%s: %s', (method, permission) => {
    expect(needed('a', {}, { method })).toBe(permission)
  })

  it('a WebSocket: write, or view where the app’s sockets only read', () => {
    expect(needed('ws', {}, { upgrade: true })).toBe('write')
    expect(needed('ws', { readOnly: { webSockets: true } }, { upgrade: true })).toBe('view')
    const access = [{ methods: ['GET' as const], path: '**', permission: 'view' as const }]
    expect(needed('ws', { access }, { upgrade: true })).toBe('write')
  })

  const access: NonNullable<Parameters<typeof genericApp>[1]>['access'] = [
    { methods: ['PUT'], path: 'api/drafts/**', permission: 'read' },
    { methods: ['GET', 'PUT'], path: 'api/**', permission: 'write' },
    { methods: ['GET'], path: 'export/*.pdf', permission: 'read' },
    { methods: ['POST'], path: 'search', permission: 'view' },
  ]
  it.each([
    ['PUT', 'api/drafts/1', 'read'],
    ['PUT', 'api/drafts/1/2', 'read'],
    ['PUT', 'api/1', 'write'],
    ['GET', 'api/1', 'write'],
    ['GET', 'api/drafts/1', 'write'],
    ['POST', 'api/drafts/1', 'write'],
    ['DELETE', 'api/drafts/1', 'write'],
    ['GET', 'export/a.pdf', 'read'],
    ['GET', 'export/a.html', 'view'],
    ['GET', 'export/a/b.pdf', 'view'],
    ['POST', 'search', 'view'],
    ['POST', 'search?q=api/1', 'view'],
    ['POST', 'search/more', 'write'],
    ['POST', 'x?search', 'write'],
    ['GET', 'x?/api/1', 'view'],
    ['GET', 'apis/1', 'view'],
    ['GET', 'a/api/1', 'view'],
  ])('%s %s by rule, the first that matches: %s', (method, target, permission) => {
    expect(needed(target, { access }, { method })).toBe(permission)
  })

  it.each([
    '%61pi/1',
    '%61%70%69/1',
    'api%2f1',
    'api%2F1',
    'api//1',
    'api/%31',
    'api/1%ff',
    '%61pi/%ff',
    'api/a;v=1',
    'api/b.a',
  ])('a rule reads %s as the app does', (target) => {
    expect(needed(target, { access })).toBe('write')
  })
})

describe('a rule that asks for more', () => {
  const access = [
    { methods: ['GET' as const], path: 'Admin/**', permission: 'write' as const },
    { methods: ['GET' as const], path: 'logs/*.txt', permission: 'read' as const },
  ]

  it.each([
    ...[
      'Admin/x',
      'Admin/.env',
      'Admin/.git/config',
      'Admin/a/.b/c',
      'Admin/..x',
      '%41dmin/x',
      'Admin%2fx',
      'Admin/x%ff',
    ],
    ...[
      '/Admin/x',
      '//Admin/x',
      '%2fAdmin/x',
      '%2F%2fAdmin//x',
      'Admin//x',
      'Admin%5cx',
      '%5cAdmin/x',
      'Admin;v=1/x',
      ';/Admin/x',
    ],
    ...['admin/x', 'ADMIN/x', 'Admin/x;v', 'Admin/;', 'Admin%3bv/x'],
  ])('is not evaded by %s', (target) => {
    expect(needed(target, { access })).toBe('write')
  })

  it.each(['logs/a.txt', 'logs/.txt', 'logs/.a.txt', 'LOGS/A.TXT', 'logs//a.txt'])('nor by %s', (target) => {
    expect(needed(target, { access })).toBe('read')
  })

  it.each(['logs/atxt', 'logs/a/b.txt', 'Admins/x', 'a/Admin/x', 'Administrator'])('is not about %s', (target) => {
    expect(needed(target, { access })).toBe('view')
  })

  it.each(['Admin', 'Admin/', 'admin', 'ADMIN//', '%41dmin', 'Admin;v=1'])(
    'holds for the folder itself: %s',
    (target) => {
      expect(needed(target, { access })).toBe('write')
      expect(needed(target, { access: [{ methods: ['GET'], path: 'Admin', permission: 'write' }] })).toBe('write')
    },
  )

  it('holds for HEAD where it holds for GET, and the first match wins', () => {
    expect(needed('Admin/x', { access }, { method: 'HEAD' })).toBe('write')
    const head = { methods: ['HEAD' as const], path: 'Admin/**', permission: 'read' as const }
    expect(needed('Admin/x', { access: [head, ...access] }, { method: 'HEAD' })).toBe('read')
    expect(needed('Admin/x', { access: [head, ...access] })).toBe('write')
    expect(needed('Admin/x', { access: [head] })).toBe('view')
  })

  it('holds for WebSockets too', () => {
    const sockets = { access, readOnly: { webSockets: true } }
    expect(needed('Admin/ws', sockets, { upgrade: true })).toBe('write')
    expect(needed('ws', sockets, { upgrade: true })).toBe('view')
  })

  it('and one that asks for less opens nothing but what it names', () => {
    const open = [{ methods: ['PUT' as const], path: 'api/**', permission: 'read' as const }]
    expect(needed('api/a', { access: open }, { method: 'PUT' })).toBe('read')
    for (const target of ['API/a', '/api/a', 'api;x/a', 'api%5ca', 'apis/a', 'x/api/a', 'api']) {
      expect(needed(target, { access: open }, { method: 'PUT' })).toBe('write')
    }
    expect(needed('api/ws', { access: open }, { upgrade: true })).toBe('write')
  })
})

describe('who the app hears of', () => {
  let signingKey: SigningKey
  beforeAll(async () => {
    signingKey = await loadSigningKey(join(mkdtempSync(join(tmpdir(), 'generic-')), 'key.json'), 'gateway.example.org')
  })
  const identity = (now: () => number) =>
    genericApp({}, {}, { signingKey, publicUrl: 'https://gateway.example.org/', now })

  it('is the recipient, with the share, in plain headers', async () => {
    const share = shareOf({ name: 'Größe %1.md', resourceType: 'file' })
    const headers = await identity(() => START).credentials(
      sessionOf({ grant: grantOf({ share, permissions: ['view', 'read'] }) }),
    )
    expect(headers).toEqual({
      'x-ocm-user': 'bob@nextcloud2.docker',
      'x-ocm-owner': 'alice@nextcloud1.docker',
      'x-ocm-sender-domain': 'nextcloud1.docker',
      'x-ocm-share-id': '42',
      'x-ocm-provider-id': '42',
      'x-ocm-resource-name': 'Gr%C3%B6%C3%9Fe %251.md',
      'x-ocm-resource-type': 'file',
      'x-ocm-permissions': 'view,read',
      'x-ocm-assertion': expect.any(String),
    })
  })

  it('is asserted by a JWT under our key, for this app and five minutes', async () => {
    const headers = await identity(() => START).credentials(sessionOf())
    const keys = createLocalJWKSet({ keys: [...signingKey.jwks.keys] })
    const { payload, protectedHeader } = await jwtVerify(headers?.['x-ocm-assertion'] ?? '', keys, {
      issuer: 'https://gateway.example.org',
      audience: 'notes',
      algorithms: ['EdDSA'],
      currentDate: new Date((START + 299) * 1000),
    })
    expect(payload).toEqual({
      iss: 'https://gateway.example.org',
      aud: 'notes',
      sub: 'bob@nextcloud2.docker',
      iat: START,
      exp: START + 300,
      share: {
        id: '42',
        providerId: '42',
        senderDomain: 'nextcloud1.docker',
        owner: 'alice@nextcloud1.docker',
        name: 'analysis',
        resourceType: 'folder',
        permissions: ['view', 'read', 'write'],
      },
    })
    expect(protectedHeader.kid).toBe(signingKey.keyid)
  })

  it('is signed anew a minute before the assertion ends, and when the grant changes', async () => {
    const clock = createClock()
    const app = identity(clock.now)
    const session = sessionOf()
    const assertion = async (held = session) => (await app.credentials(held))?.['x-ocm-assertion']
    const first = await assertion()
    clock.advance(239)
    expect(await assertion()).toBe(first)
    clock.advance(1)
    const second = await assertion()
    expect(second).not.toBe(first)
    const narrowed = sessionOf({ grant: grantOf({ permissions: ['view'] }) })
    expect((await app.credentials(narrowed))?.['x-ocm-permissions']).toBe('view')
    expect(await assertion(narrowed)).not.toBe(second)
  })

  it('is not asserted beyond the session’s end', async () => {
    const headers = await identity(() => START).credentials(sessionOf({ expiresAt: START + 10 }))
    const payload = JSON.parse(Buffer.from(headers?.['x-ocm-assertion']?.split('.')[1] ?? '', 'base64url').toString())
    expect(payload.exp).toBe(START + 10)
  })
})
