import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isLoopbackHost } from '../../../src/core/loopback.ts'
import {
  canonicalAuthority,
  formatOcmAddress,
  hostnameOf,
  parseOcmAddress,
  sameAddress,
} from '../../../src/core/ocm-address.ts'

const canonical = (text: string) => {
  const address = parseOcmAddress(text)
  return address && formatOcmAddress(address)
}

describe('an OCM address', () => {
  it.each([
    ['bob@bob.example', 'bob@bob.example'],
    ['bob@https://bob.example/', 'bob@bob.example'],
    ['bob@http://bob.example', 'bob@bob.example'],
    ['bob@HTTPS://BOB.Example:443//', 'bob@bob.example'],
    ['Bob@bob.example', 'Bob@bob.example'],
    ['bob@bob.example:8443', 'bob@bob.example:8443'],
    ['bob@bob.example:0443', 'bob@bob.example'],
    ['alice@corp.org@cloud.example', 'alice@corp.org@cloud.example'],
    ['@@cloud.example', '@@cloud.example'],
    ['alice@cloud.example/nextcloud/', 'alice@cloud.example/nextcloud'],
    ['alice@cloud.example/Next/Cloud', 'alice@cloud.example/Next/Cloud'],
    ['bob@localhost:9200', 'bob@localhost:9200'],
    ['bob@[2001:DB8::1]:8080', 'bob@[2001:db8::1]:8080'],
    [' b ob @cloud.example', ' b ob @cloud.example'],
    ['bob@my_host-1.example', 'bob@my_host-1.example'],
  ])('%j is %j', (text, expected) => {
    expect(canonical(text)).toBe(expected)
  })

  it.each([
    ...['', 'bob', '@cloud.example', 'bob@', 'bob@/nextcloud', 'bob@https://', 'bob@cloud..example', 'bob@.example'],
    ...['bob@cloud.example.', 'bob@-cloud.example', 'bob@cloud-.example', 'bob@cloud example', 'bob@cloud.example:'],
    ...['bob@cloud.example:0', 'bob@cloud.example:65536', 'bob@cloud.example:123456', 'bob@cloud.example:8o'],
    ...[
      'bob@cloud.example?x',
      'bob@cloud.example#x',
      'bob@cloud.example\\x',
      'bob@cloud.example\n',
      'bob@clöud.example',
    ],
    ...['bob@\u212aloud.example', 'bob@[::1', 'bob@::1', 'bob@user:secret', 'bob@ftp://cloud.example'],
    ...['bob@https://https://cloud.example', `bob@${'a'.repeat(301)}`, `${'b'.repeat(1024)}@cloud.example`],
  ])('%j is none', (text) => {
    expect(parseOcmAddress(text)).toBeUndefined()
  })

  it.each([
    ['bob@bob.example', 'bob@https://BOB.example:443/', true],
    ['bob@bob.example', 'Bob@bob.example', false],
    ['bob@bob.example', 'bob@bob.example/nextcloud', false],
    ['bob@bob.example/a', 'bob@bob.example/A', false],
    ['bob@bob.example', 'bob@bob.example:8443', false],
    ['a@b@c.example', 'b@c.example', false],
    // The same letter, composed and not: identifiers are compared byte for byte.
    ['jos\u00e9@c.example', 'jose\u0301@c.example', false],
  ])('%j and %j: same person %s', (one, two, same) => {
    const [a, b] = [parseOcmAddress(one), parseOcmAddress(two)]
    expect(a && b && sameAddress(a, b)).toBe(same)
  })

  const label = fc.stringMatching(/^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,6}[A-Za-z0-9])?$/)
  const host = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))
  const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined })
  const webroot = fc
    .array(fc.stringMatching(/^[!-.0-?A-~]{1,8}$/), { maxLength: 2 })
    .map((parts) => parts.map((part) => `/${part}`).join(''))
  const id = fc.string({ minLength: 1, maxLength: 30 })

  it('survives being written and read', () => {
    const property = fc.property(id, host, port, webroot, (who, name, number, path) => {
      const address = {
        id: who,
        authority: canonicalAuthority(number ? `${name}:${number}` : name) ?? '',
        webroot: path,
      }
      expect(parseOcmAddress(formatOcmAddress(address))).toEqual(address)
    })
    fc.assert(property, { numRuns: 1000 })
  })

  it('is canonical once it is canonical, whatever was written', () => {
    const scheme = fc.constantFrom('', 'https://', 'http://', 'HTTPS://')
    const tail = fc.constantFrom('', '/', '//', ':443', ':443/', ':80', '/nextcloud/', '/@x')
    const written = fc.tuple(id, scheme, host, tail).map(([who, how, name, rest]) => `${who}@${how}${name}${rest}`)
    const property = fc.property(fc.oneof(written, fc.string(), fc.string({ unit: 'binary' })), (text) => {
      const once = canonical(text)
      if (once === undefined) return
      expect(canonical(once)).toBe(once)
      expect(text.startsWith(parseOcmAddress(text)?.id ?? '?')).toBe(true)
      expect(parseOcmAddress(text)?.authority).toMatch(/^[a-z0-9_.:[\]-]+$/)
    })
    fc.assert(property, { numRuns: 2000 })
  })
})

describe('a host', () => {
  it.each([
    ['cloud.example:8443', 'cloud.example'],
    ['cloud.example', 'cloud.example'],
    ['[::1]:8080', '::1'],
    ['[::1]', '::1'],
  ])('of %s is %s', (authority, name) => {
    expect(hostnameOf(authority)).toBe(name)
  })

  it.each(['localhost', 'LOCALHOST', 'cloud.localhost', '127.0.0.1', '127.255.0.9', '::1'])(
    '%s is this machine',
    (name) => {
      expect(isLoopbackHost(name)).toBe(true)
    },
  )

  it.each([
    ...[
      'localhost.example',
      'notlocalhost',
      '127.0.0.1.example',
      '1127.0.0.1',
      '127.0.0',
      '0.0.0.0',
      '10.0.0.1',
      '::',
      '::2',
      '',
    ],
  ])('%j is not', (name) => {
    expect(isLoopbackHost(name)).toBe(false)
  })
})
