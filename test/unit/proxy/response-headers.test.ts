import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PLAIN_FORWARDING } from '../../../src/apps/app.ts'
import { type ResponseRules, responseHeaders } from '../../../src/proxy/response-headers.ts'

const RECEIVER = 'https://bob.example'
const SAME: ResponseRules = {
  policy: PLAIN_FORWARDING,
  added: undefined,
  mount: { public: '/notes/', upstream: '/notes/' },
  base: '/notes/',
  upstreamOrigins: ['http://app:8000', 'http://apps.example.org'],
  publicOrigin: 'https://apps.example.org',
  frameAncestors: [RECEIVER],
  cookiePrefix: '__Secure-ocm',
  framed: true,
  endedPage: '/notes/.ocm/expired',
}
/** The app lives at `/` behind `/notes/~0/`. */
const STRIPPED: ResponseRules = { ...SAME, mount: { public: '/notes/~0/', upstream: '/' } }

function received(raw: readonly string[], rules: ResponseRules): Record<string, string[]> {
  const flat = responseHeaders(raw, rules)
  const headers: Record<string, string[]> = {}
  for (let index = 0; index < flat.length; index += 2) {
    const name = (flat[index] ?? '').toLowerCase()
    headers[name] = [...(headers[name] ?? []), flat[index + 1] ?? '']
  }
  return headers
}
const one = (name: string, value: string, rules: ResponseRules) => received([name, value], rules)[name.toLowerCase()]
const FRAMING = { 'content-security-policy': [`frame-ancestors ${RECEIVER}`], 'referrer-policy': ['no-referrer'] }

describe('what is not the app’s to say', () => {
  it.each(['__Secure-ocm-notes-01234567=stolen; Path=/notes/', '__SECURE-OCM-x=1', '__Secure-ocm-'])(
    'a cookie of ours: %s',
    (cookie) => {
      expect(received(['Set-Cookie', cookie, 'Set-Cookie', 'own=1'], SAME)['set-cookie']).toEqual([
        'own=1; Path=/notes/; Secure; SameSite=None; Partitioned',
      ])
    },
  )

  it.each(['Service-Worker-Allowed', 'Clear-Site-Data', 'Report-To', 'NEL', 'Reporting-Endpoints'])(
    '%s: power over the whole origin',
    (name) => {
      expect(received([name, '/'], SAME)).toEqual(FRAMING)
    },
  )

  it('a header that its Connection names ends here', () => {
    expect(received(['Connection', 'close, X-Hop', 'X-Hop', '1', 'X-End', '2'], SAME)).toEqual({
      'x-end': ['2'],
      ...FRAMING,
    })
  })
})

describe('framing', () => {
  it('is the session’s, whatever the app says', () => {
    expect(received([], SAME)).toEqual(FRAMING)
    expect(received(['X-Frame-Options', 'DENY', 'x-frame-options', 'SAMEORIGIN'], SAME)).toEqual(FRAMING)
  })

  it('is forbidden to all when the session names nobody', () => {
    expect(received([], { ...SAME, frameAncestors: [] })['content-security-policy']).toEqual(["frame-ancestors 'none'"])
  })

  it('may be several’s', () => {
    expect(received([], { ...SAME, frameAncestors: ["'self'", RECEIVER] })['content-security-policy']).toEqual([
      `frame-ancestors 'self' ${RECEIVER}`,
    ])
  })

  const ours = `frame-ancestors ${RECEIVER}`
  it.each([
    ["default-src 'self'", [`default-src 'self'; ${ours}`]],
    ["frame-ancestors 'none'", [ours]],
    [
      "default-src 'self'; frame-ancestors *; sandbox allow-scripts",
      [`default-src 'self'; sandbox allow-scripts; ${ours}`],
    ],
    ["FRAME-ANCESTORS 'self';default-src 'none';", [`default-src 'none'; ${ours}`]],
    ['frame-ancestors', [ours]],
    ['frame-ancestors\t*', [ours]],
    ['', [ours]],
    ["default-src 'self', frame-ancestors *", [`default-src 'self'; ${ours}, ${ours}`]],
    [
      'frame-src https://frames.example; x-frame-ancestors a',
      [`frame-src https://frames.example; x-frame-ancestors a; ${ours}`],
    ],
    ["frame-ancestors 'self';report-uri /hub/security/csp-report; report-to hub", [ours]],
  ])('in the policy %j', (policy, expected) => {
    expect(one('Content-Security-Policy', policy, SAME)).toEqual(expected)
  })

  it('in each of several policies', () => {
    const raw = ['Content-Security-Policy', "default-src 'self'", 'content-security-policy', 'frame-ancestors *']
    expect(received(raw, SAME)['content-security-policy']).toEqual([`default-src 'self'; ${ours}`, ours])
  })

  it('is never anybody’s else, in whatever policy', () => {
    const piece = fc.constantFrom(
      'frame-ancestors',
      'Frame-Ancestors',
      ' ',
      ';',
      ',',
      '*',
      "'none'",
      '\t',
      'https://evil.example',
      'sandbox',
    )
    const property = fc.property(
      fc.array(piece).map((pieces) => pieces.join('')),
      (policy) => {
        for (const value of one('content-security-policy', policy, SAME) ?? []) {
          for (const single of value.split(',')) {
            const directives = single.split(';').map((directive) => directive.trim())
            expect(directives.filter((directive) => /^frame-ancestors(\s|$)/i.test(directive))).toEqual([ours])
          }
        }
      },
    )
    fc.assert(property, { numRuns: 1000 })
  })
})

describe('other headers', () => {
  it('pass as they are', () => {
    const raw = [
      'Content-Type',
      'text/html',
      'X-Custom',
      '1',
      'X-Custom',
      '2',
      'ETag',
      '"a"',
      'Content-Length',
      '3',
      'Referrer-Policy',
      'origin',
    ]
    expect(responseHeaders(raw, SAME)).toEqual([
      ...raw,
      'content-security-policy',
      FRAMING['content-security-policy'][0],
    ])
  })

  it.each([
    'Connection',
    'Keep-Alive',
    'Transfer-Encoding',
    'Trailer',
    'Upgrade',
    'Proxy-Authenticate',
    'TE',
    'Proxy-Connection',
  ])('are not %s: it is the connection’s', (name) => {
    expect(received([name, 'x'], SAME)).toEqual(FRAMING)
  })

  it('are not what the app’s kind drops', () => {
    const policy = { ...PLAIN_FORWARDING, cookies: false, dropResponseHeaders: ['x-jupyterhub-version'] }
    expect(received(['X-JupyterHub-Version', '5', 'Set-Cookie', 'a=b'], { ...SAME, policy })).toEqual(FRAMING)
  })
})

describe('a cookie of the app', () => {
  const THIRD = '; Secure; SameSite=None; Partitioned'

  it.each([
    ['sid=1', `sid=1; Path=/notes/${THIRD}`],
    ['sid=1; Path=/', `sid=1; Path=/notes/${THIRD}`],
    ['sid=1; Path=/notes/sub', `sid=1; Path=/notes/sub${THIRD}`],
    ['sid=1; Path=/notes', `sid=1; Path=/notes${THIRD}`],
    ['sid=1; Path=/notesevil/', `sid=1; Path=/notes/${THIRD}`],
    ['sid=1; Path=/other', `sid=1; Path=/notes/${THIRD}`],
    ['sid=1; Path=relative', `sid=1; Path=/notes/${THIRD}`],
    ['sid=1; path=/other; PATH=/notes/a', `sid=1; Path=/notes/a${THIRD}`],
    ['sid=1; Domain=example.org; Path=/notes/', `sid=1; Path=/notes/${THIRD}`],
    ['sid=1; domain', `sid=1; Path=/notes/${THIRD}`],
    [
      'sid=1; HttpOnly; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
      `sid=1; Path=/notes/; HttpOnly; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT${THIRD}`,
    ],
    ['sid=1; SameSite=Strict; secure; Partitioned', `sid=1; Path=/notes/${THIRD}`],
    ['sid=a=b==; samesite=lax', `sid=a=b==; Path=/notes/${THIRD}`],
  ])('%j is set, in a frame, as %j', (value, expected) => {
    expect(one('Set-Cookie', value, SAME)).toEqual([expected])
  })

  it.each([
    ['sid=1; SameSite=Lax', 'sid=1; Path=/notes/; SameSite=Lax'],
    ['sid=1; Secure; HttpOnly; Domain=example.org', 'sid=1; Path=/notes/; Secure; HttpOnly'],
  ])('%j keeps its attributes in a tab of its own', (value, expected) => {
    expect(one('Set-Cookie', value, { ...SAME, framed: false })).toEqual([expected])
  })

  it.each([
    ['/', '/notes/~0/'],
    ['/app', '/notes/~0/app'],
    ['/app/', '/notes/~0/app/'],
    [undefined, '/notes/~0/'],
  ])('Path %s gets the stripped prefix', (path, expected) => {
    const value = path === undefined ? 'sid=1' : `sid=1; Path=${path}`
    expect(one('Set-Cookie', value, { ...STRIPPED, framed: false })).toEqual([`sid=1; Path=${expected}`])
  })

  it('each stays a header of its own', () => {
    expect(received(['Set-Cookie', 'a=1', 'set-cookie', 'b=2'], { ...SAME, framed: false })['set-cookie']).toEqual([
      'a=1; Path=/notes/',
      'b=2; Path=/notes/',
    ])
  })
})

describe('a URL of the app', () => {
  it.each([
    ['http://app:8000/notes/a?b#c', 'https://apps.example.org/notes/a?b#c', 'https://apps.example.org/notes/a?b#c'],
    ['http://app:8000/notes/a', 'https://apps.example.org/notes/a', 'https://apps.example.org/notes/~0/notes/a'],
    ['http://app:8000/', 'https://apps.example.org/', 'https://apps.example.org/notes/~0/'],
    ['http://app:8000', 'https://apps.example.org/', 'https://apps.example.org/notes/~0/'],
    [
      'http://apps.example.org/notes/a',
      'https://apps.example.org/notes/a',
      'https://apps.example.org/notes/~0/notes/a',
    ],
    ['/a', '/a', '/notes/~0/a'],
    ['/', '/', '/notes/~0/'],
    ['a/b', 'a/b', 'a/b'],
    ['?a', '?a', '?a'],
    ['', '', ''],
    ['http://app:80001/', 'http://app:80001/', 'http://app:80001/'],
    ['http://app:8000.evil.example/', 'http://app:8000.evil.example/', 'http://app:8000.evil.example/'],
    ['https://other.example/notes/', 'https://other.example/notes/', 'https://other.example/notes/'],
    ['//other.example/a', '//other.example/a', '//other.example/a'],
    ['mailto:a@b.example', 'mailto:a@b.example', 'mailto:a@b.example'],
  ])('%j', (written, same, stripped) => {
    const stripsAway = written.includes('?b#c') ? 'https://apps.example.org/notes/~0/notes/a?b#c' : stripped
    for (const [rules, expected] of [
      [SAME, same],
      [STRIPPED, stripsAway],
    ] as const) {
      expect(one('Location', written, rules)).toEqual([expected])
      expect(one('Content-Location', written, rules)).toEqual([expected])
    }
  })

  it.each([
    ['0;url=http://app:8000/a', '0;url=https://apps.example.org/notes/~0/a'],
    ["5; URL='/a'", "5; URL='/notes/~0/a'"],
    ['5; url = "/a"', '5; url = "/notes/~0/a"'],
    ['5', '5'],
    ['0;url=https://other.example/', '0;url=https://other.example/'],
  ])('in Refresh: %j', (value, expected) => {
    expect(one('Refresh', value, STRIPPED)).toEqual([expected])
  })

  it.each([
    [
      '</style.css>; rel=preload, <http://app:8000/b>; rel="next"',
      '</notes/~0/style.css>; rel=preload, <https://apps.example.org/notes/~0/b>; rel="next"',
    ],
    ['<https://cdn.example/x>; rel=preload', '<https://cdn.example/x>; rel=preload'],
    ['nonsense', 'nonsense'],
  ])('in Link: %j', (value, expected) => {
    expect(one('Link', value, STRIPPED)).toEqual([expected])
  })

  it.each([
    ['/notes/login?next=/a', '/notes/.ocm/expired'],
    ['http://app:8000/notes/login', '/notes/.ocm/expired'],
    ['https://apps.example.org/notes/login', '/notes/.ocm/expired'],
    ['/notes/other', '/notes/other'],
    ['https://other.example/notes/login', 'https://other.example/notes/login'],
  ])('where the app has lost its user, Location %s leads to %s', (value, expected) => {
    const policy = { ...PLAIN_FORWARDING, endedLocations: ['/notes/login'] }
    expect(one('Location', value, { ...SAME, policy })).toEqual([expected])
    expect(one('Content-Location', '/notes/login', { ...SAME, policy })).toEqual(['/notes/login'])
  })
})
