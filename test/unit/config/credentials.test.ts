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
