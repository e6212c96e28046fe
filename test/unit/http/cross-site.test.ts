import { describe, expect, it } from 'vitest'
import { acceptsHtml, checkSameOrigin, isNavigation } from '../../../src/http/cross-site.ts'
import { outcomeOf } from '../fixtures.ts'
import { requestOf } from './requests.ts'

const OWN = 'https://apps.example.org'
const same = (method: string, headers: Record<string, string>, upgrade = false) =>
  outcomeOf(() => checkSameOrigin(requestOf(method, headers), OWN, upgrade))

const FOREIGN = [
  ...[
    'https://evil.example',
    'null',
    '',
    'http://apps.example.org',
    'https://apps.example.org:8443',
    'https://apps.example.org/',
  ],
  ...[
    'https://apps.example.org.evil.example',
    'https://xapps.example.org',
    'HTTPS://apps.example.org',
    'apps.example.org',
  ],
]

describe('a request that changes something', () => {
  it.each(['POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'MOVE', 'LOCK', ''])(
    '%s comes from the app’s own origin',
    async (method) => {
      expect(await same(method, { origin: OWN })).toBe('ok')
      expect(await same(method, { 'sec-fetch-site': 'same-origin' })).toBe('ok')
      expect(await same(method, {})).toBe('403 cross_site')
      for (const origin of FOREIGN) expect(await same(method, { origin })).toBe('403 cross_site')
    },
  )

  it.each([
    [
      'a foreign Origin, same-origin by Fetch Metadata',
      { origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' },
    ],
    ['Sec-Fetch-Site: same-site', { 'sec-fetch-site': 'same-site' }],
    ['Sec-Fetch-Site: cross-site', { 'sec-fetch-site': 'cross-site' }],
    ['Sec-Fetch-Site: none', { 'sec-fetch-site': 'none' }],
    ['only Sec-Fetch-Mode', { 'sec-fetch-mode': 'same-origin' }],
    ['only a Referer', { referer: `${OWN}/notes/` }],
  ])('is refused with %s', async (_what, headers) => {
    expect(await same('POST', headers)).toBe('403 cross_site')
  })

  it.each(['GET', 'HEAD', 'OPTIONS'])('is not %s, which may come from anywhere', async (method) => {
    expect(await same(method, { origin: 'https://evil.example' })).toBe('ok')
    expect(await same(method, {})).toBe('ok')
  })
})

describe('a WebSocket handshake', () => {
  it('comes from the app’s own origin, by its Origin alone', async () => {
    expect(await same('GET', { origin: OWN }, true)).toBe('ok')
    expect(await same('GET', {}, true)).toBe('403 cross_site')
    expect(await same('GET', { 'sec-fetch-site': 'same-origin' }, true)).toBe('403 cross_site')
    for (const origin of FOREIGN) expect(await same('GET', { origin }, true)).toBe('403 cross_site')
  })
})

describe('a navigation', () => {
  it.each([
    ['GET', { 'sec-fetch-mode': 'navigate' }, true],
    ['GET', { 'sec-fetch-mode': 'navigate', accept: 'application/json' }, true],
    ['GET', { accept: 'text/html,application/xhtml+xml' }, true],
    ['GET', { accept: 'TEXT/HTML' }, true],
    ['GET', { 'sec-fetch-mode': 'cors', accept: 'text/html' }, false],
    ['GET', { 'sec-fetch-mode': 'no-cors', accept: 'text/html' }, false],
    ['GET', { accept: '*/*' }, false],
    ['GET', {}, false],
    ['POST', { 'sec-fetch-mode': 'navigate', accept: 'text/html' }, false],
    ['HEAD', { accept: 'text/html' }, false],
  ] as [string, Record<string, string>, boolean][])('%s %j: %s', (method, headers, navigates) => {
    expect(isNavigation(requestOf(method, headers))).toBe(navigates)
  })

  it('is what accepts HTML, by name', () => {
    expect([undefined, '', 'application/json', 'text/*'].map(acceptsHtml)).toEqual([false, false, false, false])
  })
})
