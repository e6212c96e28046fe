import { validateHeaderValue } from 'node:http'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { headerValue, templateHeaders } from '../../../src/apps/headers.ts'
import { grantOf, sessionOf, shareOf } from '../fixtures.ts'
import { webappOf } from './generic/webapp.ts'

describe('a header value', () => {
  it.each([
    ['plain', 'plain'],
    [' a b ', 'a b'],
    ['100%', '100%'],
    ['', ''],
    ['größe', 'gr%C3%B6%C3%9Fe'],
    ['größe 100%', 'gr%C3%B6%C3%9Fe 100%25'],
    ['a\r\nX-OCM-User: mallory', 'a%0D%0AX-OCM-User: mallory'],
    ['a\0b\tc\x7f', 'a%00b%09c%7F'],
    ['\u{1f4d3}', '%F0%9F%93%93'],
    ['lone \ud800', 'lone %EF%BF%BD'],
  ])('of %j is %j', (text, value) => {
    expect(headerValue(text)).toBe(value)
  })

  it('is cut, never in the middle of a letter', () => {
    expect(headerValue('x'.repeat(100_000))).toHaveLength(1024)
    expect(headerValue('\u{1f4d3}'.repeat(2000))).toBe('%F0%9F%93%93'.repeat(1024))
  })

  it('can always be sent, whatever a peer wrote', () => {
    const property = fc.property(fc.string({ unit: 'binary' }), (text) => {
      const value = headerValue(text)
      expect(() => validateHeaderValue('x', value)).not.toThrow()
      expect(value).toMatch(/^[\x20-\x7e]*$/)
    })
    fc.assert(property, { numRuns: 1000 })
  })
})

describe('headers from templates', () => {
  const filled = (template: string, change = {}) =>
    templateHeaders(webappOf({ headers: { 'X-Auth': template } }), sessionOf({ grant: grantOf(change) }))['X-Auth']

  it.each([
    ['{user}', 'bob@nextcloud2.docker'],
    ['{userId} at {userHost}', 'bob at nextcloud2.docker'],
    ['{owner}', 'alice@nextcloud1.docker'],
    ['{shareId}/{resourceName}', '42/analysis'],
    ['{permissions}', 'view,read,write'],
    ['Bearer static', 'Bearer static'],
    ['{}', '{}'],
  ])('%s → %s', (template, value) => {
    expect(filled(template)).toBe(value)
  })

  it('what comes in is not read as a template, and is made safe', () => {
    expect(filled('{resourceName}', { share: shareOf({ name: '{user}\r\nX: y' }) })).toBe('{user}%0D%0AX: y')
    expect(filled('{userId}', { user: 'a@b@c.example' })).toBe('a@b')
    expect(filled('{resourceName}', { share: shareOf({ name: '$& $1 $$' }) })).toBe('$& $1 $$')
  })
})
