import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PLAIN_FORWARDING } from '../../../src/apps/app.ts'
import { checkSingleHeaders, type RequestRules, requestHeaders } from '../../../src/proxy/request-headers.ts'
import { outcomeOf } from '../fixtures.ts'

const RULES: RequestRules = {
  forwarded: { for: '203.0.113.9, 10.0.0.1', proto: 'https', host: 'apps.example.org', prefix: '/notes' },
  cookies: 'theme=dark',
  policy: PLAIN_FORWARDING,
  added: { 'x-ocm-user': 'bob@bob.example', 'remote-user': 'bob', 'x-auth': 'ours' },
  toUpstream: (url) => url.replace('https://apps.example.org/notes/', 'http://app:8000/'),
}

const OURS = {
  host: ['apps.example.org'],
  cookie: ['theme=dark'],
  'x-forwarded-for': ['203.0.113.9, 10.0.0.1'],
  'x-forwarded-proto': ['https'],
  'x-forwarded-host': ['apps.example.org'],
  'x-forwarded-prefix': ['/notes'],
  'x-ocm-user': ['bob@bob.example'],
  'remote-user': ['bob'],
  'x-auth': ['ours'],
}

/** What the app reads: name → values, names in lower case. */
function received(raw: readonly string[], change: Partial<RequestRules> = {}): Record<string, string[]> {
  const flat = requestHeaders(raw, { ...RULES, ...change })
  const headers: Record<string, string[]> = {}
  for (let index = 0; index < flat.length; index += 2) {
    const name = (flat[index] ?? '').toLowerCase()
    headers[name] = [...(headers[name] ?? []), flat[index + 1] ?? '']
  }
  return headers
}

describe('the app receives', () => {
  it('what the gateway says, each header once', () => {
    expect(received([])).toEqual(OURS)
  })

  it('the client’s other headers as they came, in order', () => {
    const raw = [
      'Accept',
      'a',
      'X-Custom',
      '1',
      'accept',
      'b',
      'Authorization',
      'Bearer app',
      'Content-Length',
      '3',
      'Origin',
      'https://o',
    ]
    expect(requestHeaders(raw, RULES).slice(2, 2 + raw.length)).toEqual(raw)
  })

  it.each([
    ...[
      'X-OCM-User',
      'x-ocm-user',
      'X_OCM_USER',
      'X.OCM.User',
      'x_ocm-user',
      'X-OCM-Anything',
      'x_ocm_',
      'X-OCM-Assertion',
    ],
    ...[
      'X-Forwarded-For',
      'X_Forwarded_For',
      'X.Forwarded.Host',
      'x-forwarded-proto',
      'X-Forwarded-Prefix',
      'X-Forwarded-User',
    ],
    ...[
      'X-Forwarded-Port',
      'Forwarded',
      'FORWARDED',
      'X-Real-IP',
      'X_Real_IP',
      'x.real.ip',
      'X-Remote-User',
      'X_Remote_User',
    ],
    ...['Remote-User', 'REMOTE_USER', 'remote.user', 'X-Auth', 'X_Auth', 'x.auth', 'Host', 'Cookie', 'cookie'],
  ])('nothing that the client says in %s, however often', (name) => {
    const headers = received([name, 'forged', 'A', '1', name, 'forged too'])
    expect(JSON.stringify(headers)).not.toContain('forged')
    expect(headers).toEqual({ ...OURS, a: ['1'] })
  })

  it('nothing in a header of the operator’s, also when its name has a dot', () => {
    expect(received(['X.User', 'forged'], { added: { 'x.user': 'bob' } })['x.user']).toEqual(['bob'])
  })

  it.each([
    ...['Connection', 'Keep-Alive', 'Proxy-Connection', 'Proxy-Authorization', 'Proxy-Authenticate', 'TE', 'Trailer'],
    ...['Transfer-Encoding', 'Upgrade', 'HTTP2-Settings', 'Expect'],
  ])('no %s: it is the connection’s', (name) => {
    expect(received([name, 'x'])).toEqual(OURS)
  })

  it.each([
    ['X-OCM-User'],
    ['x-ocm-user, Remote-User'],
    ['X-Forwarded-For,X-Forwarded-Host,X-Forwarded-Proto'],
    ['keep-alive, Host, Cookie, X-Auth'],
    ['close'],
    [' , ,'],
  ])('ours, also when the client’s Connection names them: %s', (value) => {
    expect(received(['Connection', value, 'X-OCM-User', 'forged'])).toEqual(OURS)
  })

  it('nothing of the client’s that its Connection names', () => {
    const raw = [
      'X-Hop',
      '1',
      'Connection',
      'X-Hop , x-other',
      'X-OTHER',
      '2',
      'X-End',
      '3',
      'connection',
      'X-More',
      'x-more',
      '4',
    ]
    expect(received(raw)).toEqual({ ...OURS, 'x-end': ['3'] })
  })

  it('no cookies when there are none, or the app’s kind takes none', () => {
    expect(received([], { cookies: '' })).not.toHaveProperty('cookie')
    const policy = { ...PLAIN_FORWARDING, cookies: false, dropRequestHeaders: ['authorization'] }
    expect(received(['Authorization', 'Bearer x', 'AUTHORIZATION', 'Bearer y', 'Cookie', 'a=b'], { policy })).toEqual(
      Object.fromEntries(Object.entries(OURS).filter(([name]) => name !== 'cookie')),
    )
  })

  it('a Destination that leads to itself', () => {
    const raw = ['Destination', 'https://apps.example.org/notes/b', 'X-Destination', 'https://apps.example.org/notes/b']
    expect(received(raw)).toMatchObject({
      destination: ['http://app:8000/b'],
      'x-destination': ['https://apps.example.org/notes/b'],
    })
  })

  it('whatever the client sends, our headers are ours', () => {
    const separator = fc.constantFrom('-', '_', '.')
    const word = fc.constantFrom(
      'x',
      'X',
      'ocm',
      'OCM',
      'user',
      'User',
      'forwarded',
      'for',
      'remote',
      'real',
      'ip',
      'auth',
      'connection',
    )
    const name = fc.oneof(
      fc.tuple(word, separator, word, separator, word).map((parts) => parts.join('')),
      fc.tuple(word, separator, word).map((parts) => parts.join('')),
      word,
    )
    const property = fc.property(
      fc.array(fc.tuple(name, fc.constantFrom('forged', 'x-ocm-user', 'close'))),
      (pairs) => {
        const headers = received(pairs.flat())
        expect(headers).toMatchObject(OURS)
        for (const [key, values] of Object.entries(headers)) {
          const folded = key.replace(/[_.]/g, '-')
          if (Object.hasOwn(OURS, folded)) expect([key, values]).toEqual([folded, OURS[folded as keyof typeof OURS]])
        }
      },
    )
    fc.assert(property, { numRuns: 2000 })
  })
})

describe('headers that may come once', () => {
  it.each([
    [['Host', 'a'], 'ok'],
    [['Host', 'a', 'Authorization', 'b', 'Content-Length', '1', 'Accept', 'x', 'Accept', 'y'], 'ok'],
    [['Host', 'a', 'Host', 'a'], '400 header_repeated'],
    [['Host', 'a', 'HOST', 'b'], '400 header_repeated'],
    [['Authorization', 'a', 'X', '1', 'authorization', 'b'], '400 header_repeated'],
    [['Content-Length', '1', 'content-length', '1'], '400 header_repeated'],
    [[], 'ok'],
  ])('%j: %s', async (raw, outcome) => {
    expect(await outcomeOf(() => checkSingleHeaders(raw))).toBe(outcome)
  })
})
