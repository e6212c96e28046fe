import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  clearCookie,
  cookieName,
  hashCookieValue,
  newCookieValue,
  setCookie,
  splitCookies,
} from '../../../src/sessions/cookie.ts'

const PREFIX = '__Secure-ocm'
const NAME = `${PREFIX}-notes-0a1b2c3d`
const VALUE = 'v'.repeat(43)

describe('the session cookie', () => {
  const share = { senderDomain: 'cloud.example', shareId: '42' }

  it('is named after prefix, webapp and share', () => {
    expect(cookieName(PREFIX, 'notes', share)).toMatch(/^__Secure-ocm-notes-[0-9a-f]{8}$/)
    const names = [
      cookieName(PREFIX, 'notes', share),
      cookieName(PREFIX, 'other', share),
      cookieName(PREFIX, 'notes', { ...share, shareId: '43' }),
      cookieName(PREFIX, 'notes', { ...share, senderDomain: 'other.example' }),
    ]
    expect(new Set(names).size).toBe(4)
    expect(cookieName(PREFIX, 'notes', { ...share })).toBe(names[0])
  })

  it('has 256 random bits, which are kept as a hash only', () => {
    const values = Array.from({ length: 100 }, newCookieValue)
    expect(new Set(values).size).toBe(100)
    for (const value of values) expect(Buffer.from(value, 'base64url')).toHaveLength(32)
    expect(hashCookieValue(VALUE)).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(hashCookieValue(VALUE)).not.toBe(VALUE)
    expect(hashCookieValue(VALUE)).toBe(hashCookieValue(VALUE))
  })

  it('is for this scope, this browser partition, and no script', () => {
    expect(setCookie(NAME, VALUE, '/notes/')).toBe(
      `${NAME}=${VALUE}; Path=/notes/; HttpOnly; Secure; SameSite=None; Partitioned`,
    )
    expect(clearCookie(NAME, '/notes/')).toBe(
      `${NAME}=; Path=/notes/; HttpOnly; Secure; SameSite=None; Partitioned; Max-Age=0`,
    )
  })
})

describe('a Cookie header is split', () => {
  const ours = (value = VALUE, name = NAME) => [{ name, value }]

  it.each([
    ['nothing', undefined, [], ''],
    ['an empty one', '', [], ''],
    ['only ours', `${NAME}=${VALUE}`, ours(), ''],
    ['only the app’s', 'sid=1; theme=dark', [], 'sid=1; theme=dark'],
    ['ours among the app’s', `sid=1; ${NAME}=${VALUE}; theme=dark`, ours(), 'sid=1; theme=dark'],
    ['without spaces', `sid=1;${NAME}=${VALUE};theme=dark`, ours(), 'sid=1; theme=dark'],
    ['with spaces everywhere', ` sid=1 ;  ${NAME} = ${VALUE} ; `, ours(), 'sid=1'],
    [
      'two of ours',
      `${NAME}=${VALUE}; ${NAME}2=${'w'.repeat(43)}`,
      [...ours(), ...ours('w'.repeat(43), `${NAME}2`)],
      '',
    ],
    ['the same name twice', `${NAME}=${VALUE}; ${NAME}=${'w'.repeat(43)}`, [...ours(), ...ours('w'.repeat(43))], ''],
    ['ours in another case', `${NAME.toUpperCase()}=${VALUE}`, ours(VALUE, NAME.toUpperCase()), ''],
    ['ours with a malformed value', `${NAME}=short; sid=1`, [], 'sid=1'],
    ['ours with a longer value', `${NAME}=${VALUE}v`, [], ''],
    ['ours with a quoted value', `${NAME}="${VALUE}"`, [], ''],
    ['ours without a value', `${NAME}; sid=1`, [], 'sid=1'],
    ['a name that only begins alike', `${PREFIX}x=${VALUE}`, [], `${PREFIX}x=${VALUE}`],
    ['ours as the value of another', `sid=${NAME}=${VALUE}`, [], `sid=${NAME}=${VALUE}`],
    ['a nameless one', `=${VALUE}; x`, [], `=${VALUE}; x`],
    ['values with =', 'a=b==; c', [], 'a=b==; c'],
  ])('%s', (_what, header, expected, rest) => {
    expect(splitCookies(header, PREFIX)).toEqual({ ours: expected, rest })
  })

  it('and whatever it holds, nothing with our prefix is left for the app', () => {
    const name = fc.oneof(fc.constantFrom(NAME, NAME.toLowerCase(), `${PREFIX}-`, 'sid'), fc.string())
    const pair = fc.tuple(fc.constantFrom('', ' ', '\t'), name, fc.constantFrom('=', ' = ', ''), fc.string())
    const property = fc.property(fc.array(pair.map((parts) => parts.join(''))), (pairs) => {
      const { rest } = splitCookies(pairs.join(';'), PREFIX)
      for (const cookie of rest.split(';'))
        expect(cookie.trim().toLowerCase().startsWith(`${PREFIX.toLowerCase()}-`)).toBe(false)
    })
    fc.assert(property)
  })
})
