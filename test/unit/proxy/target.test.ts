import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  checkMethod,
  checkScopeDeciding,
  decodePath,
  dropQueryParameters,
  parseTarget,
} from '../../../src/proxy/target.ts'
import { outcomeOf } from '../fixtures.ts'

describe('a request target', () => {
  it.each([
    ['/', '/', ''],
    ['/notes/', '/notes/', ''],
    ['/notes/?a=/../b', '/notes/', '?a=/../b'],
    ['/notes/?', '/notes/', '?'],
    ['/a?b?c', '/a', '?b?c'],
    ['/?%zz', '/', '?%zz'],
    ['/a%20b/%C3%A9', '/a%20b/%C3%A9', ''],
    ['/a//b/', '/a//b/', ''],
    ['/a%2Fb%5Cc', '/a%2Fb%5Cc', ''],
    ['/wopi?WOPISrc=https%3A%2F%2Fa%2F..%2Fb', '/wopi', '?WOPISrc=https%3A%2F%2Fa%2F..%2Fb'],
    ['/.hidden/..name/...', '/.hidden/..name/...', ''],
    ['/a/.%20/b', '/a/.%20/b', ''],
    ['/a;v=1/b', '/a;v=1/b', ''],
    ['/%252e%252e/', '/%252e%252e/', ''],
    ['//', '//', ''],
  ])('%j is split, byte for byte', (raw, path, query) => {
    expect(parseTarget(raw)).toEqual({ path, query })
  })

  it.each([
    ...['', '*', 'notes', 'http://apps.example.org/notes/', 'apps.example.org:443', '?a', '%2Fnotes'],
    ...[
      '/a#b',
      '/a?b#c',
      '/a\\b',
      '/\\evil.example',
      '/?a\\b',
      '/a b',
      '/a\tb',
      '/a\rb',
      '/a\nb',
      '/a\0b',
      '/a\x7fb',
      '/?\n',
    ],
    ...['/a%', '/a%2', '/a%zz', '/a%2g/b', '/%', '/a%00b', '/%00', '/a/%2e%2e%00'],
    ...['/.', '/..', '/a/.', '/a/..', '/./a', '/../a', '/a/./b', '/a/../b', '/user/bob/s/../../alice/'],
    ...['/a/%2e%2e/b', '/a/%2E%2E/b', '/a/.%2e/b', '/a/%2e./b', '/a/%2e/b', '/a/%2E', '/%2e%2e'],
    ...['/a/..;/b', '/a/..;x=1/b', '/a/.;/b', '/a/%2e%2e;/b', '/a/..%3b/b', '/a/%2e%2e%3Bx/b'],
    ...['/a/..%2fb', '/a%2f..%2fb', '/a%2F..', '/a/..%5cb', '/a%5c..%5Cb', '/a%5C..', '/a%2f%2e%2e%2fb', '/%2f..'],
  ])('%j is refused', async (raw) => {
    expect(await outcomeOf(() => parseTarget(raw))).toBe('400 target_malformed')
  })

  const piece = fc.constantFrom(
    ...[
      '/',
      '/',
      '.',
      '..',
      '%2e',
      '%2E',
      '%2f',
      '%2F',
      '%5c',
      '%5C',
      '\\',
      ';',
      '%3b',
      'a',
      'user',
      '%00',
      '%25',
      '%',
      '?',
      '#',
      '~',
    ],
    ...['%252e', '%c0%ae', '%ff', ' ', '\0', '\n', 'é', '&', '=', ':', '@', '*'],
  )
  const target = fc.oneof(
    fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join('')}`),
    fc.string({ unit: 'binary' }).map((text) => `/${text}`),
    fc.webUrl({ withQueryParameters: true }).map((url) => new URL(url).pathname),
  )

  it('that is accepted has no dot segment in any reading, and is forwarded as it came', () => {
    const read = (path: string) =>
      path.replace(/%2e/gi, '.').replace(/%2f/gi, '/').replace(/%5c/gi, '\\').replace(/%3b/gi, ';')
    let accepted = 0
    const property = fc.property(target, (raw) => {
      let parsed: ReturnType<typeof parseTarget>
      try {
        parsed = parseTarget(raw)
      } catch {
        return
      }
      accepted += 1
      const { path, query } = parsed
      expect(path + query).toBe(raw)
      expect(path).toMatch(/^\/[!-~]*$/)
      for (const reading of [path, read(path)]) {
        for (const segment of reading.split(/[/\\]/)) expect(segment.split(';')[0]).not.toMatch(/^\.{1,2}$/)
      }
      // What a browser’s parser, which resolves dot segments, makes of it is still the same place.
      const { pathname } = new URL(`http://app/.${path}`)
      expect(pathname.split('/')).toHaveLength(path.split('/').length)
    })
    fc.assert(property, { numRuns: 5000 })
    expect(accepted).toBeGreaterThan(100)
  })
})

describe('a method', () => {
  it.each(['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'MKCOL', 'MOVE', 'LOCK', 'REPORT'])(
    '%s is served',
    (method) => {
      expect(() => checkMethod(method)).not.toThrow()
    },
  )

  it.each(['TRACE', 'CONNECT', 'TRACK', 'get', 'Post', 'PRI', 'ACL', 'M-SEARCH', 'X', '', '__proto__'])(
    '%j is refused',
    async (method) => {
      expect(await outcomeOf(() => checkMethod(method))).toBe('405 method_refused')
    },
  )
})

describe('a path that falls into no scope', () => {
  it.each(['/', '/user/bob/', '/a%20b', '/a%252fb', '/~0123456789abcdef/'])('%s may be plain', async (path) => {
    expect(await outcomeOf(() => checkScopeDeciding(path))).toBe('ok')
  })

  it.each(['//', '//notes/', '/a//b', '/user%2fbob/', '/user%2Fbob/', '/user%5cbob/', '/a%5C'])(
    '%s is ambiguous',
    async (path) => {
      expect(await outcomeOf(() => checkScopeDeciding(path))).toBe('400 target_ambiguous')
    },
  )
})

describe('a path as rules see it', () => {
  it.each([
    ['api/x', 'api/x'],
    ['%61pi/x', 'api/x'],
    ['%61%70%69%2fx', 'api/x'],
    ['a%20b', 'a b'],
    ['%C3%A9', 'é'],
    ['%c3%a9', 'é'],
    ['%F0%9F%93%93', '\u{1f4d3}'],
    ['%252e', '%2e'],
    // A byte that is no UTF-8 must not keep the rest from being read.
    ['%61pi/x%ff', 'api/x\ufffd'],
    ['%61pi%2fx%FF', 'api/x\ufffd'],
    ['%ff%61pi/x', '\ufffdapi/x'],
    ['%c0%ae', '\ufffd\ufffd'],
    ['', ''],
  ])('%j is read as %j', (path, read) => {
    expect(decodePath(path)).toBe(read)
  })

  it('is read once, and never throws', () => {
    const written = fc.property(fc.string(), (text) => {
      expect(decodePath(encodeURIComponent(text))).toBe(text)
    })
    const anything = fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(decodePath(text)).toBeTypeOf('string')
    })
    fc.assert(written)
    fc.assert(anything)
  })
})

describe('query parameters that are dropped', () => {
  it.each([
    ['?token=s', ''],
    ['?token=s&a=1', '?a=1'],
    ['?a=1&token=s&b=%20+', '?a=1&b=%20+'],
    ['?token', ''],
    ['?token=s&token=t', ''],
    ['?%74oken=s', ''],
    ['?%74%6F%6b%65%6e=s', ''],
    ['?to+ken=1', '?to+ken=1'],
    ['?a+b=1&c=2', '?c=2'],
    ['?Token=s', '?Token=s'],
    ['?tokens=s&xtoken=t', '?tokens=s&xtoken=t'],
    ['?a=token', '?a=token'],
    ['?', '?'],
    ['', ''],
    ['?a=1&&b', '?a=1&&b'],
    ['?%zz=1', '?%zz=1'],
  ])('%s → %s', (query, left) => {
    expect(dropQueryParameters(query, ['token', 'a b'])).toBe(left)
  })

  it('without names, nothing', () => {
    expect(dropQueryParameters('?token=s', [])).toBe('?token=s')
  })
})
