import { describe, expect, it } from 'vitest'
import { configOf, minimal, problemsOf } from './support.ts'

const url = 'https://cloud.example.org/ocm/introspect'
const asked = { modes: ['introspected'], introspection: { url } }

describe('introspection of a pairing', () => {
  it('asks with a signature, and for opaque credentials only, unless it says otherwise', () => {
    const [pairing] = configOf(minimal({ pairing: asked })).ocmServers
    expect(pairing?.introspection).toEqual({ url, auth: 'http-signature', prefer: false })
  })

  it.each([
    [{ modes: ['introspected'] }, 'modes: permits introspected without an endpoint (add introspection: { url: … })'],
    [
      { ...asked, introspection: { url, auth: 'private_key_jwt' } },
      'introspection.clientId: is missing (auth: private_key_jwt needs our client identifier)',
    ],
    [
      { ...asked, introspection: { url, auth: 'bearer' } },
      'introspection.clientSecretFile: is missing (auth: bearer needs a file with the secret)',
    ],
  ])('%j is refused', (pairing, expected) => {
    expect(problemsOf(minimal({ pairing }))).toEqual([`ocmServers[0].${expected}`])
  })

  it('goes over https, except to this machine', () => {
    const plain = { ...asked, introspection: { url: 'http://cloud.example.org/introspect' } }
    expect(problemsOf(minimal({ pairing: plain }))).toEqual([
      'ocmServers[0].introspection.url: is http:// (must be https://, as cloud.example.org is not this machine)',
    ])
  })

  it.each([
    [
      'sso.example.org',
      'is "sso.example.org" (must be an https:// URL such as https://apps.example.org/, without user name, query or #)',
    ],
    [
      'https://sso.example.org/?a',
      'is "https://sso.example.org/?a" (must be an https:// URL such as https://apps.example.org/, without user name, query or #)',
    ],
    ['http://sso.example.org/realms/a', 'is http:// (must be https://, as sso.example.org is not this machine)'],
    ['https://cloud.example.org', 'is what it is by default (leave it out)'],
    ['https://CLOUD.example.org:443/', 'is what it is by default (leave it out)'],
  ])('the issuer %s: %s', (issuer, expected) => {
    const pairing = { domain: 'cloud.example.org', ...asked, introspection: { url, issuer } }
    expect(problemsOf(minimal({ pairing }))).toEqual([`ocmServers[0].introspection.issuer: ${expected}`])
  })

  it('an issuer is of one pairing only, and not the name of another', () => {
    const issuer = 'https://sso.example.org/realms/a'
    const pairing = (domain: string, name: string) => ({ domain, ...asked, introspection: { url, issuer: name } })
    const webapp = { ocmServers: ['a.example.org'] }
    const both = [pairing('a.example.org', issuer), pairing('b.example.org', issuer)]
    expect(problemsOf({ ...minimal({ webapp }), ocmServers: both })).toEqual([
      'ocmServers[1].introspection.issuer: is that of ocmServers[0] too (a token of it could be either’s)',
    ])
    const other = [{ domain: 'a.example.org' }, pairing('b.example.org', 'https://a.example.org')]
    expect(problemsOf({ ...minimal({ webapp }), ocmServers: other })).toEqual([
      'ocmServers[1].introspection.issuer: is the name of ocmServers[0] (must be another server’s)',
    ])
  })

  it('is of one pairing for each webapp, because an opaque credential does not say whose it is', () => {
    const ocmServers = ['a.example.org', 'b.example.org'].map((domain) => ({ domain, ...asked }))
    expect(problemsOf({ ...minimal(), ocmServers })).toEqual([
      'webapps[0].ocmServers: includes a.example.org and b.example.org, which are both introspected (an opaque credential could be either’s: name one of them)',
    ])
    expect(problemsOf({ ...minimal({ webapp: { ocmServers: ['b.example.org'] } }), ocmServers })).toEqual([])
  })
})

describe('sharedKeyFile of a pairing', () => {
  it('must hold 32 bytes or more', () => {
    const pairing = { sharedKeyFile: './key' }
    expect(problemsOf(minimal({ pairing }), { files: { key: 'short' } })).toEqual([
      'ocmServers[0].sharedKeyFile: holds less than 32 bytes (HS256 needs at least 32, RFC 7518 §3.2)',
    ])
    expect(problemsOf(minimal({ pairing }), { files: { key: `${'k'.repeat(32)}\n` } })).toEqual([])
  })
})
