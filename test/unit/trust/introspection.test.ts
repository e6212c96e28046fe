import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRemoteJWKSet, customFetch, jwtVerify, SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createOutbound } from '../../../src/core/outbound.ts'
import { Secret } from '../../../src/core/secret.ts'
import { createIntrospectionVerifier } from '../../../src/trust/credentials/introspection.ts'
import { createDiscover } from '../../../src/trust/discovery.ts'
import { verifySignature } from '../../../src/trust/http-signature.ts'
import { importVerificationKey } from '../../../src/trust/jwk.ts'
import { createKeys } from '../../../src/trust/keys.ts'
import { createPairings, type Pairing } from '../../../src/trust/pairings.ts'
import { loadSigningKey } from '../../../src/trust/signing-key.ts'
import { createClock, createPeerKey, createToldEvents, pairingOf, START } from '../fixtures.ts'

interface Asked {
  readonly req: IncomingMessage
  readonly body: string
}

const clock = createClock()
const asked: Asked[] = []
let answer: (asked: Asked) => { status?: number; type?: string; body: string } | undefined
let base = ''
const server = createServer(async (req, res) => {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  const one = { req, body: Buffer.concat(chunks).toString() }
  asked.push(one)
  const reply = answer(one)
  if (reply === undefined) return
  res.writeHead(reply.status ?? 200, { 'content-type': reply.type ?? 'application/json' }).end(reply.body)
})
const outbound = createOutbound({ insecureLoopback: true })
const signingKey = await loadSigningKey(join(mkdtempSync(join(tmpdir(), 'key-')), 'key.json'), 'apps.example.org')

beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await outbound.close()
})
beforeEach(() => {
  asked.length = 0
  clock.set(START)
  answer = () => ({ body: JSON.stringify(active()) })
})

const active = (change: Record<string, unknown> = {}) => ({
  active: true,
  iss: 'https://cloud.example.org',
  sub: 'alice',
  aud: 'bob@bob.example',
  client_id: '42',
  exp: START + 600,
  ...change,
})

/** A verifier over one pairing whose endpoint is the server above. */
function verifierOf(
  introspection: Record<string, unknown> = {},
  change: Partial<Pairing> = {},
  takeRate = () => () => {},
) {
  const written = {
    modes: ['introspected'],
    introspection: { url: `${base}/introspect`, auth: 'none', ...introspection },
  }
  const pairing = { ...pairingOf('cloud.example.org', written), ...change }
  const pairings = createPairings([pairing, pairingOf('other.example.org')], { insecureLoopback: true })
  const { events } = createToldEvents()
  const keys = createKeys({
    outbound,
    discover: createDiscover({ outbound, insecureLoopback: true }),
    now: clock.now,
    events,
  })
  const verify = createIntrospectionVerifier({ pairings, keys, outbound, signingKey, now: clock.now, events, takeRate })
  return (text: string) => verify(text, pairings.all, 'somebody')
}

describe('an introspected credential', () => {
  it('is what the answer says, and is asked for with a form', async () => {
    const credential = await verifierOf()('opaque-secret')
    expect(credential).toMatchObject({
      sub: 'alice',
      aud: 'bob@bob.example',
      clientId: '42',
      exp: START + 600,
      introspected: true,
    })
    expect(Object.fromEntries(new URLSearchParams(asked[0]?.body))).toEqual({
      token: 'opaque-secret',
      token_type_hint: 'access_token',
    })
  })

  it.each([
    ['it is not active', { active: false }, 'credential_inactive', 401],
    ['active is a word', { ...active(), active: 'true' }, 'introspection_unavailable', 503],
    ['it is of another pairing', active({ iss: 'https://other.example.org' }), 'introspection_issuer', 401],
    ['it is of nobody we know', active({ iss: 'https://evil.example' }), 'issuer_not_paired', 401],
    ['it has no exp', active({ exp: undefined }), 'introspection_unavailable', 503],
    ['it has no sub', active({ sub: undefined }), 'introspection_unavailable', 503],
    [
      'it has two recipients',
      active({ aud: ['bob@bob.example', 'eve@bob.example'] }),
      'introspection_unavailable',
      503,
    ],
    ['it has expired', active({ exp: START - 61 }), 'token_expired', 401],
  ])('is refused when %s', async (_, body, reason, status) => {
    answer = () => ({ body: JSON.stringify(body) })
    await expect(verifierOf()('opaque')).rejects.toMatchObject({ reason, status })
  })

  it.each([
    ['an error', { status: 500, body: 'oops' }],
    ['something that is not JSON', { body: '<html>' }],
    ['more than 256 KiB', { body: JSON.stringify({ ...active(), filler: 'x'.repeat(300_000) }) }],
  ])('is 503, and nothing is remembered, when the endpoint answers %s', async (_, reply) => {
    const verify = verifierOf()
    answer = () => reply
    await expect(verify('opaque')).rejects.toMatchObject({ status: 503, reason: 'introspection_unavailable' })
    answer = () => ({ body: JSON.stringify(active()) })
    await expect(verify('opaque')).resolves.toMatchObject({ sub: 'alice' })
  })

  it('is nobody’s when several pairings could own it: none of them sees the other’s secret', async () => {
    const introspection = { url: `${base}/introspect`, auth: 'none' }
    const candidates = ['a.example', 'b.example'].map((domain) =>
      pairingOf(domain, { modes: ['introspected'], introspection }),
    )
    const pairings = createPairings(candidates, { insecureLoopback: true })
    const { events } = createToldEvents()
    const keys = createKeys({
      outbound,
      discover: createDiscover({ outbound, insecureLoopback: true }),
      now: clock.now,
      events,
    })
    const verify = createIntrospectionVerifier({
      pairings,
      keys,
      outbound,
      signingKey,
      now: clock.now,
      events,
      takeRate: () => () => {},
    })
    await expect(verify('opaque', pairings.all, 'somebody')).resolves.toBeUndefined()
    expect(asked).toEqual([])
  })

  it('is nobody’s when no pairing here is introspected', async () => {
    await expect(verifierOf({}, { modes: ['provisioned'] })('opaque')).resolves.toBeUndefined()
    expect(asked).toEqual([])
  })
})

describe('a server that is asked under another name than its own', () => {
  const issuer = 'https://sso.example.org/realms/cloud'
  const named = () => verifierOf({ issuer })
  const jwt = (claims: object) =>
    `${[{ alg: 'RS256', kid: 'k' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.c2ln`

  it('counts when its answers carry that name, letter by letter', async () => {
    answer = () => ({ body: JSON.stringify(active({ iss: issuer })) })
    await expect(named()('opaque')).resolves.toMatchObject({ sub: 'alice', pairing: { domain: 'cloud.example.org' } })
    for (const iss of ['https://cloud.example.org', `${issuer}/`, 'https://sso.example.org', 'https://evil.example']) {
      answer = () => ({ body: JSON.stringify(active({ iss })) })
      await expect(named()('opaque')).rejects.toMatchObject({ reason: 'introspection_issuer' })
    }
  })

  it('is asked about its JWTs, whatever the pairing prefers, and only about its own', async () => {
    answer = () => ({ body: JSON.stringify(active({ iss: issuer })) })
    const verify = verifierOf({ issuer }, { modes: ['provisioned', 'introspected'] })
    await expect(verify(jwt({ iss: issuer }))).resolves.toMatchObject({ sub: 'alice' })
    await expect(verify(jwt({ iss: 'https://cloud.example.org' }))).resolves.toBeUndefined()
    await expect(verify(jwt({ iss: `${issuer}/x` }))).rejects.toMatchObject({ reason: 'issuer_malformed' })
    await expect(verify(jwt({}))).rejects.toMatchObject({ reason: 'issuer_malformed' })
    expect(asked).toHaveLength(1)
  })

  it('is not asked where the pairing does not permit it', async () => {
    const verify = verifierOf({ issuer }, { modes: ['provisioned'] })
    await expect(verify(jwt({ iss: issuer }))).resolves.toBeUndefined()
    expect(asked).toEqual([])
  })

  it('is the default’s when none is given: a JWT without iss is nobody’s', async () => {
    await expect(verifierOf()(jwt({}))).rejects.toMatchObject({ reason: 'issuer_malformed' })
  })
})

describe('the audience of an answer', () => {
  it.each([
    ['the recipient and us', ['bob@bob.example', 'gateway'], 'bob@bob.example'],
    ['us and the recipient', ['gateway', 'bob@bob.example'], 'bob@bob.example'],
    ['the recipient alone', ['bob@bob.example'], 'bob@bob.example'],
  ])('%s: the recipient', async (_, aud, recipient) => {
    answer = () => ({ body: JSON.stringify(active({ aud })) })
    await expect(verifierOf({ clientId: 'gateway' })('opaque')).resolves.toMatchObject({ aud: recipient })
  })

  it.each([
    ['us and two recipients', ['bob@bob.example', 'gateway', 'eve@bob.example']],
    ['another client', ['bob@bob.example', 'account']],
    ['us twice', ['gateway', 'gateway']],
    ['nobody', []],
  ])('%s: no answer that counts', async (_, aud) => {
    answer = () => ({ body: JSON.stringify(active({ aud })) })
    await expect(verifierOf({ clientId: 'gateway' })('opaque')).rejects.toMatchObject({
      reason: 'introspection_unavailable',
    })
  })
})

describe('a JWT', () => {
  const jwtOf = (iss: string) => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    return `${part({ alg: 'ES256', kid: 'k' })}.${part({ iss })}.c2ln`
  }

  it('is introspected when its pairing prefers that, or permits nothing else', async () => {
    const both = { modes: ['provisioned', 'introspected'] } as const
    const jwt = jwtOf('https://cloud.example.org')
    await expect(verifierOf({ prefer: true }, { modes: [...both.modes] })(jwt)).resolves.toMatchObject({ sub: 'alice' })
    await expect(verifierOf()(jwt)).resolves.toMatchObject({ sub: 'alice' })
    await expect(verifierOf({}, { modes: [...both.modes] })(jwt)).resolves.toBeUndefined()
  })

  it('of an unpaired issuer is refused without a question', async () => {
    await expect(verifierOf()(jwtOf('https://evil.example'))).rejects.toMatchObject({ reason: 'issuer_not_paired' })
    expect(asked).toEqual([])
  })
})

describe('the cache', () => {
  it('remembers an active credential for five minutes at most', async () => {
    const verify = verifierOf()
    await verify('opaque')
    clock.advance(299)
    await verify('opaque')
    expect(asked).toHaveLength(1)
    clock.advance(2)
    await verify('opaque')
    expect(asked).toHaveLength(2)
  })

  it('remembers a bad credential for ten seconds, so that a flood of it is one question', async () => {
    answer = () => ({ body: '{"active":false}' })
    const verify = verifierOf()
    const flood = await Promise.allSettled(Array.from({ length: 50 }, () => verify('bad')))
    expect(flood.every(({ status }) => status === 'rejected')).toBe(true)
    expect(asked).toHaveLength(1)
    clock.advance(11)
    await expect(verify('bad')).rejects.toMatchObject({ reason: 'credential_inactive' })
    expect(asked).toHaveLength(2)
  })

  it('asks once for many simultaneous uses of one credential', async () => {
    const verify = verifierOf()
    await Promise.all(Array.from({ length: 20 }, () => verify('opaque')))
    expect(asked).toHaveLength(1)
  })

  it('costs the client nothing when the credential is active, and stays paid when it is not', async () => {
    let taken = 0
    const verify = verifierOf({}, {}, () => {
      taken += 1
      return () => {
        taken -= 1
      }
    })
    await verify('opaque')
    expect(taken).toBe(0)
    answer = () => ({ body: '{"active":false}' })
    await expect(verify('bad')).rejects.toMatchObject({ reason: 'credential_inactive' })
    answer = () => ({ status: 500, body: 'oops' })
    await expect(verify('worse')).rejects.toMatchObject({ reason: 'introspection_unavailable' })
    expect(taken).toBe(2)
  })

  it('asks no more often than the rate of the pairing', async () => {
    let left = 3
    const verify = verifierOf({}, {}, () => {
      left -= 1
      if (left < 0) throw new Error('rate')
      return () => {}
    })
    const flood = await Promise.allSettled(Array.from({ length: 100 }, (_, index) => verify(`opaque-${index}`)))
    expect(flood.filter(({ status }) => status === 'fulfilled')).toHaveLength(3)
    expect(asked).toHaveLength(3)
  })
})

describe('the request says who asks', () => {
  const secret = { clientId: 'gateway', clientSecretFile: new Secret('s3cret') }
  const withAuth = (introspection: Record<string, unknown>) => {
    const { clientId, clientSecretFile, ...rest } = { clientId: 'gateway', ...introspection } as Record<string, unknown>
    const pairing = pairingOf('cloud.example.org', {
      modes: ['introspected'],
      introspection: { url: `${base}/introspect` },
    })
    return verifierOf(
      {},
      { introspection: { ...pairing.introspection, clientId, clientSecretFile, ...rest } as Pairing['introspection'] },
    )
  }

  it('client_secret_basic (RFC 6749 §2.3.1)', async () => {
    await withAuth({ auth: 'client_secret_basic', ...secret })('opaque')
    expect(asked[0]?.req.headers.authorization).toBe(`Basic ${Buffer.from('gateway:s3cret').toString('base64')}`)
  })

  it('client_secret_post', async () => {
    await withAuth({ auth: 'client_secret_post', ...secret })('opaque')
    expect(Object.fromEntries(new URLSearchParams(asked[0]?.body))).toMatchObject({
      client_id: 'gateway',
      client_secret: 's3cret',
    })
  })

  it('bearer', async () => {
    await withAuth({ auth: 'bearer', ...secret })('opaque')
    expect(asked[0]?.req.headers.authorization).toBe('Bearer s3cret')
  })

  it('private_key_jwt, under the key of our JWKS (RFC 7523 §3)', async () => {
    await withAuth({ auth: 'private_key_jwt' })('opaque')
    const form = new URLSearchParams(asked[0]?.body)
    const keys = createRemoteJWKSet(new URL('https://apps.example.org/jwks'), {
      [customFetch]: async () => Response.json(signingKey.jwks),
    })
    const { payload } = await jwtVerify(form.get('client_assertion') ?? '', keys)
    expect(payload).toMatchObject({ iss: 'gateway', sub: 'gateway', aud: `${base}/introspect` })
  })

  it('none, with our client identifier when there is one', async () => {
    await withAuth({ auth: 'none' })('opaque')
    expect(new URLSearchParams(asked[0]?.body).get('client_id')).toBe('gateway')
    expect(asked[0]?.req.headers.authorization).toBeUndefined()
  })

  it('http-signature, verifiable with the key of our JWKS (RFC 9421, tag ocm)', async () => {
    await withAuth({ auth: 'http-signature' })('opaque')
    const [{ req, body }] = asked as [Asked]
    const headers = Object.entries(req.headers).map(([name, value]) => [name, String(value)] as const)
    const verified = await verifySignature(
      { method: 'POST', targetUri: `${base}/introspect`, headers },
      Buffer.from(body),
      {
        now: START,
        senderDomain: 'apps.example.org',
        tolerateUntagged: false,
        findKey: async (keyid) => {
          const key = importVerificationKey(signingKey.jwks.keys.find(({ kid }) => kid === keyid))
          if (typeof key === 'string') throw new Error(key)
          return key
        },
      },
    )
    expect(verified.keyid).toBe(signingKey.keyid)
  })
})

describe('a signed answer (RFC 9701)', () => {
  const peer = createPeerKey('P-256', 'https://cloud.example.org/ocm#1', { alg: 'ES256' })
  const stranger = createPeerKey('P-256', peer.kid, { alg: 'ES256' })
  const signed = async (key = peer) => ({
    type: 'application/token-introspection+jwt',
    body: await new SignJWT({ token_introspection: active() })
      .setProtectedHeader({ alg: 'ES256', typ: 'token-introspection+jwt', kid: key.kid })
      .setIssuer('https://cloud.example.org')
      .setAudience('apps.example.org')
      .setIssuedAt()
      .sign(key.privateKey),
  })
  const ask = async (key = peer) => {
    const jwt = await signed(key)
    answer = ({ req }) => (req.url === '/jwks' ? { body: JSON.stringify({ keys: [peer.jwk] }) } : jwt)
    return verifierOf({}, { keysUrl: `${base}/jwks` })('opaque')
  }

  it('is asked for, and counts when the pairing’s own key signed it', async () => {
    await expect(ask()).resolves.toMatchObject({ sub: 'alice', clientId: '42' })
    const { headers } = asked.find(({ req }) => req.url === '/introspect')?.req ?? {}
    expect(headers?.accept).toBe('application/token-introspection+jwt, application/json;q=0.9')
  })

  it('does not count when another key did', async () => {
    await expect(ask(stranger)).rejects.toMatchObject({ status: 503, reason: 'introspection_unavailable' })
  })
})
