import { createHmac, type KeyObject, sign } from 'node:crypto'
import { exportJWK } from 'jose'
import { describe, expect, it } from 'vitest'
import { invalidToken } from '../../../src/core/errors.ts'
import type { VerifiedCredential } from '../../../src/trust/credentials/credential.ts'
import { createJwtVerifier } from '../../../src/trust/credentials/jwt.ts'
import { createCredentials } from '../../../src/trust/credentials/registry.ts'
import { importVerificationKey } from '../../../src/trust/jwk.ts'
import type { Keys } from '../../../src/trust/keys.ts'
import { createPairings } from '../../../src/trust/pairings.ts'
import { createClock, createPeerKey, createToldEvents, outcomeOf, pairingOf, START } from '../fixtures.ts'
import { CLAIMS, forge, type Minting, mint } from '../peer-tokens.ts'

const KID = 'https://nextcloud1.docker/ocm#ecdsa-p256-sha256-1'
const p256 = createPeerKey('P-256', KID, { alg: 'ES256' })
const p384 = createPeerKey('P-384', `${KID}-384`)
const ed25519 = createPeerKey('Ed25519', `${KID}-ed`)
const ed25519New = createPeerKey('Ed25519', `${KID}-ed-new`, { alg: 'Ed25519' })
const rsa = createPeerKey('RSA', `${KID}-rsa`)
const pss = createPeerKey('RSA', `${KID}-pss`, { alg: 'PS256' })
const legacy = createPeerKey('RSA', 'https://nextcloud1.docker/ocm#signature', { alg: 'RS256' })
const PUBLISHED = [p256, p384, ed25519, ed25519New, rsa, pss, legacy]

/** A verifier of tokens of nextcloud1.docker; `looked` are the keys that were looked for, as domain and kid. */
function setUp(written: Record<string, unknown> = {}, published = PUBLISHED) {
  const clock = createClock()
  const { events, told } = createToldEvents()
  const looked: string[] = []
  const find: Keys['find'] = async ({ domain }, kid) => {
    looked.push(`${domain} ${kid}`)
    const key = importVerificationKey(published.find((candidate) => candidate.kid === kid)?.jwk)
    if (domain === 'nextcloud1.docker' && typeof key !== 'string') return key
    throw invalidToken('key_unknown', 'no such key')
  }
  const paired = [pairingOf('nextcloud1.docker', written), pairingOf('other.example')]
  const pairings = createPairings(paired, { insecureLoopback: false })
  const verifier = createJwtVerifier({ pairings, keys: { find }, now: clock.now, events })
  const verify = (text: string): Promise<VerifiedCredential | undefined> => verifier(text, paired, 'somebody')
  return { clock, told, looked, verify, verifier, paired }
}

const BY_P256: Minting = { key: p256.privateKey, kid: KID, alg: 'ES256' }
const token = (change: Partial<Minting> = {}) => mint({ ...BY_P256, ...change })
const claims = (changed: Record<string, unknown>) => token({ claims: changed })
const header = (changed: Record<string, unknown>) => token({ header: changed })
const by = ({ privateKey, kid }: { privateKey: KeyObject; kid: string }, alg: string) => ({ key: privateKey, kid, alg })

describe('an access token', () => {
  it('gives what it says, its issuer’s pairing, and itself as a secret', async () => {
    const { verify, paired, looked } = setUp()
    const text = await claims({ ocm_ip: { providerId: '42' } })
    const credential = await verify(text)
    expect(credential).toMatchObject({
      sub: 'alice',
      aud: 'bob@https://nextcloud2.docker/',
      clientId: '42',
      exp: START + 3600,
      ocmIp: { providerId: '42' },
    })
    expect(credential?.pairing).toBe(paired[0])
    expect(credential?.token.reveal()).toBe(text)
    expect(JSON.stringify(credential)).not.toContain(text)
    expect(looked).toEqual([`nextcloud1.docker ${KID}`])
  })

  it.each([
    ['ES256', by(p256, 'ES256')],
    ['ES384', by(p384, 'ES384')],
    ['EdDSA', by(ed25519, 'EdDSA')],
    ['Ed25519 (RFC 9864)', by(ed25519, 'Ed25519')],
    ['EdDSA under a key published as Ed25519', by(ed25519New, 'EdDSA')],
    ['Ed25519 under a key published as Ed25519', by(ed25519New, 'Ed25519')],
    ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg) => [alg, by(rsa, alg)]),
    ['PS256 under a key published for it', by(pss, 'PS256')],
  ] as [string, Minting][])('may be signed with %s', async (_alg, minting) => {
    expect(await setUp().verify(await mint(minting))).toMatchObject({ clientId: '42' })
  })

  it.each(['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/AT+JWT'])('has typ %s', async (typ) => {
    expect(await setUp().verify(await header({ typ }))).toMatchObject({ clientId: '42' })
    expect(await setUp().verify(await mint({ ...by(legacy, 'RS256'), header: { typ } }))).toMatchObject({
      clientId: '42',
    })
  })

  it.each([
    ['an integer client_id', { client_id: 42 }, { clientId: '42' }],
    ['a client_id of zero', { client_id: 0 }, { clientId: '0' }],
    ['a client_id with leading zeros', { client_id: '042' }, { clientId: '042' }],
    ['an aud of exactly one', { aud: ['bob@nextcloud2.docker'] }, { aud: 'bob@nextcloud2.docker' }],
    ['a sub with @', { sub: 'alice@corp.org' }, { sub: 'alice@corp.org' }],
    ['iss with a default port', { iss: 'https://nextcloud1.docker:443' }, { clientId: '42' }],
    ['iss with a slash, in upper case', { iss: 'HTTPS://NEXTCLOUD1.docker/' }, { clientId: '42' }],
    ['a life of 300 s', { exp: START + 300 }, { exp: START + 300 }],
    ['a life of a day', { exp: START + 86_400 }, { exp: START + 86_400 }],
    ['a life of a day and the skew', { exp: START + 86_460 }, { exp: START + 86_460 }],
    ['exp 59 s ago', { exp: START - 59 }, { exp: START - 59 }],
    ['nbf 60 s ahead', { nbf: START + 60 }, { clientId: '42' }],
    ['iat 60 s ahead', { iat: START + 60 }, { clientId: '42' }],
    ['no iat, no jti', { iat: undefined, jti: undefined }, { clientId: '42' }],
  ] as [string, Record<string, unknown>, Partial<VerifiedCredential>][])(
    'may have %s',
    async (_what, change, expected) => {
      expect(await setUp().verify(await claims(change))).toMatchObject(expected)
    },
  )
})

describe('refused without looking for a key', () => {
  it.each([
    ['no iss', 'issuer_malformed', claims({ iss: undefined })],
    ['iss that is no text', 'issuer_malformed', claims({ iss: ['https://nextcloud1.docker'] })],
    ['iss with http', 'issuer_malformed', claims({ iss: 'http://nextcloud1.docker' })],
    ['iss without scheme', 'issuer_malformed', claims({ iss: 'nextcloud1.docker' })],
    ['iss with a path', 'issuer_malformed', claims({ iss: 'https://nextcloud1.docker/nextcloud' })],
    ['iss with two slashes', 'issuer_malformed', claims({ iss: 'https://nextcloud1.docker//' })],
    ['iss with a query', 'issuer_malformed', claims({ iss: 'https://nextcloud1.docker?x' })],
    ['iss with a fragment', 'issuer_malformed', claims({ iss: 'https://nextcloud1.docker#x' })],
    ['iss with userinfo', 'issuer_malformed', claims({ iss: 'https://nextcloud1.docker@evil.example' })],
    ['iss with a backslash', 'issuer_malformed', claims({ iss: 'https://nextcloud1.docker\\@evil.example' })],
    ['iss with a line break', 'issuer_malformed', claims({ iss: 'https://nextcloud1.docker\n' })],
    ['iss with a dot at the end', 'issuer_malformed', claims({ iss: 'https://nextcloud1.docker.' })],
    [
      'iss with a letter that lower-cases to ASCII',
      'issuer_malformed',
      claims({ iss: 'https://nextcloud1.doc\u212aer' }),
    ],
    ['iss that is not paired', 'issuer_not_paired', claims({ iss: 'https://evil.example' })],
    ['iss below the paired host', 'issuer_not_paired', claims({ iss: 'https://nextcloud1.docker.evil.example' })],
    ['iss on another port', 'issuer_not_paired', claims({ iss: 'https://nextcloud1.docker:8443' })],
    ['jwk', 'token_header', header({ jwk: p256.jwk })],
    ['jku', 'token_header', header({ jku: 'https://evil.example/jwks' })],
    ['x5u', 'token_header', header({ x5u: 'https://evil.example/cert' })],
    ['x5c', 'token_header', header({ x5c: ['AAAA'] })],
    ['crit', 'token_header', header({ crit: ['ocm'], ocm: true })],
    ['no kid', 'token_kid', header({ kid: undefined })],
    ['an empty kid', 'token_kid', header({ kid: '' })],
    ['a kid that is no text', 'token_kid', Promise.resolve(forge({ typ: 'at+jwt', alg: 'ES256', kid: 1 }, CLAIMS))],
    ['no typ', 'token_type', header({ typ: undefined })],
    ['typ JWT', 'token_type', header({ typ: 'JWT' })],
    ['typ of another JWT', 'token_type', header({ typ: 'logout+jwt' })],
    ['typ with more', 'token_type', header({ typ: 'at+jwt;v=1' })],
    ['an older Nextcloud token', 'token_legacy', mint({ ...by(legacy, 'RS256'), header: { typ: 'JWT' } })],
    [
      'an older Nextcloud token without typ',
      'token_legacy',
      mint({ ...by(legacy, 'RS256'), header: { typ: undefined } }),
    ],
    ...['none', 'None', 'HS256', 'HS512', 'ES256K', 'ES512', 'RSA-OAEP', 'dir', ''].map((alg) => [
      `alg ${alg}`,
      'token_algorithm',
      Promise.resolve(forge({ typ: 'at+jwt', alg, kid: KID }, CLAIMS, 'x')),
    ]),
    ['no alg', 'token_algorithm', Promise.resolve(forge({ typ: 'at+jwt', kid: KID }, CLAIMS))],
    ['alg as a list', 'token_algorithm', Promise.resolve(forge({ typ: 'at+jwt', alg: ['ES256'], kid: KID }, CLAIMS))],
    [
      'alg none, no signature',
      'token_algorithm',
      Promise.resolve(forge({ typ: 'at+jwt', alg: 'none', kid: KID }, CLAIMS)),
    ],
  ] as [string, string, Promise<string>][])('%s: %s', async (_what, reason, made) => {
    const { verify, looked } = setUp()
    const text = await made
    await expect(verify(text)).rejects.toMatchObject({ status: 401, reason, bearerError: 'invalid_token' })
    expect(looked).toEqual([])
  })

  it('an upgrade hint goes with an older Nextcloud token', async () => {
    const text = await mint({ ...by(legacy, 'RS256'), header: { typ: 'JWT' } })
    await expect(setUp().verify(text)).rejects.toThrow(/older Nextcloud: the sending server has to be upgraded/)
  })
})

describe('refused by its signature', () => {
  it.each([
    [
      'another key of the same kind',
      'token_signature',
      mint({ ...BY_P256, key: createPeerKey('P-256', KID).privateKey }),
    ],
    ['RS256 under an ES256 key', 'token_algorithm', mint({ ...by(rsa, 'RS256'), kid: KID })],
    ['ES256 under an RSA key', 'token_algorithm', mint({ ...BY_P256, kid: rsa.kid })],
    ['ES256 under an Ed25519 key', 'token_algorithm', mint({ ...BY_P256, kid: ed25519.kid })],
    ['ES384 named under a P-256 key', 'token_algorithm', mint({ ...by(p384, 'ES384'), kid: KID })],
    ['RS256 under a key published for PS256', 'token_algorithm', mint(by(pss, 'RS256'))],
    ['PS512 under a key published for PS256', 'token_algorithm', mint(by(pss, 'PS512'))],
    ['an unknown kid', 'key_unknown', mint({ ...BY_P256, kid: `${KID}0` })],
    ['only the fragment of a kid', 'key_unknown', mint({ ...BY_P256, kid: 'ecdsa-p256-sha256-1' })],
  ] as [string, string, Promise<string>][])('%s: %s', async (_what, reason, made) => {
    const { verify, looked } = setUp()
    const text = await made
    expect(await outcomeOf(() => verify(text))).toBe(`401 ${reason}`)
    expect(looked).toHaveLength(1)
  })

  const signedPart = forge({ typ: 'at+jwt', alg: 'ES256', kid: KID }, CLAIMS).replace(/\.$/, '')
  const der = sign('sha256', Buffer.from(signedPart), p256.privateKey)
  const hmacs = [p256.publicKey.export({ format: 'pem', type: 'spki' }), JSON.stringify(p256.jwk)].map((secret) =>
    createHmac('sha256', secret).update(signedPart).digest(),
  )
  it.each([
    ['an ECDSA signature in DER', der],
    ['an HMAC keyed with the public key as PEM', hmacs[0]],
    ['an HMAC keyed with the public key as JWK', hmacs[1]],
    ['no signature', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(64)],
  ] as [string, Buffer][])('%s under alg ES256', async (_what, signature) => {
    const text = `${signedPart}.${signature.toString('base64url')}`
    expect(await outcomeOf(() => setUp().verify(text))).toBe('401 token_signature')
  })

  it('HS256 keyed with the public key', async () => {
    for (const { publicKey } of [p256, rsa, ed25519]) {
      const key = Buffer.from(publicKey.export({ format: 'pem', type: 'spki' }))
      const raw = Buffer.from(JSON.stringify(await exportJWK(publicKey)))
      for (const secret of [key, raw]) {
        const text = await mint({ key: secret, kid: KID, alg: 'HS256' })
        expect(await outcomeOf(() => setUp().verify(text))).toBe('401 token_algorithm')
      }
    }
  })

  it('claims that were changed after it was signed', async () => {
    const [head, , signature] = (await token()).split('.')
    const [, changed] = forge({}, { ...CLAIMS, sub: 'mallory' }).split('.')
    expect(await outcomeOf(() => setUp().verify(`${head}.${changed}.${signature}`))).toBe('401 token_signature')
  })
})

describe('refused by its claims', () => {
  it.each([
    ...['sub', 'aud', 'exp', 'client_id'].map((name) => [`no ${name}`, 'token_claims', { [name]: undefined }]),
    ...['sub', 'aud', 'client_id'].map((name) => [`an empty ${name}`, 'token_claims', { [name]: '' }]),
    ...['sub', 'aud', 'client_id', 'exp'].map((name) => [`${name} null`, 'token_claims', { [name]: null }]),
    ['sub as a number', 'token_claims', { sub: 7 }],
    ['aud as an empty list', 'token_claims', { aud: [] }],
    ['aud of two', 'token_claims', { aud: ['bob@nextcloud2.docker', 'carol@nextcloud2.docker'] }],
    ['aud of the same twice', 'token_claims', { aud: ['bob@nextcloud2.docker', 'bob@nextcloud2.docker'] }],
    ['aud as a list of numbers', 'token_claims', { aud: [7] }],
    ['client_id as a fraction', 'token_claims', { client_id: 42.5 }],
    ['client_id as true', 'token_claims', { client_id: true }],
    ['client_id as a list', 'token_claims', { client_id: ['42'] }],
    ['client_id beyond exact integers', 'token_claims', { client_id: 2 ** 53 }],
    ['exp as text', 'token_claims', { exp: `${START + 3600}` }],
    ['iat as text', 'token_claims', { iat: 'now' }],
    ['nbf as text', 'token_claims', { nbf: 'now' }],
    ['exp a second and the skew ago', 'token_expired', { exp: START - 61 }],
    ['exp exactly the skew ago', 'token_expired', { exp: START - 60 }],
    ['exp zero', 'token_expired', { exp: 0 }],
    ['nbf 61 s ahead', 'token_not_yet_valid', { nbf: START + 61 }],
    ['iat 61 s ahead', 'token_not_yet_valid', { iat: START + 61 }],
    ['a life of more than a day', 'token_lifetime', { exp: START + 86_461 }],
    ['exp in milliseconds', 'token_lifetime', { exp: (START + 3600) * 1000 }],
  ] as [string, string, Record<string, unknown>][])('%s: %s', async (_what, reason, change) => {
    const text = await claims(change)
    await expect(setUp().verify(text)).rejects.toMatchObject({ status: 401, reason, bearerError: 'invalid_token' })
  })

  it('exp beyond all numbers', async () => {
    const payload = JSON.stringify(CLAIMS).replace(`"exp":${CLAIMS.exp}`, '"exp":1e999')
    const signed = `${Buffer.from(JSON.stringify({ typ: 'at+jwt', alg: 'ES256', kid: KID })).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`
    const signature = sign('sha256', Buffer.from(signed), { key: p256.privateKey, dsaEncoding: 'ieee-p1363' })
    expect(await outcomeOf(() => setUp().verify(`${signed}.${signature.toString('base64url')}`))).toBe(
      '401 token_lifetime',
    )
  })

  it('time passing: the same token until a minute after its exp', async () => {
    const { verify, clock } = setUp()
    const text = await token()
    for (const [at, outcome] of [
      [0, 'ok'],
      [3600, 'ok'],
      [3659, 'ok'],
      [3660, '401 token_expired'],
    ] as const) {
      clock.set(START + at)
      expect(await outcomeOf(() => verify(text))).toBe(outcome)
    }
  })

  it('and the message names the claim, never the token', async () => {
    const text = await claims({ aud: ['a', 'b'] })
    const error = await setUp()
      .verify(text)
      .catch((thrown) => thrown)
    expect(error.message).toContain('aud')
    expect(JSON.stringify([error.message, error.detail])).not.toContain(text.slice(0, 20))
  })
})

describe('untyped tokens, tolerated', () => {
  const tolerant = { tolerate: ['untyped-tokens'] }

  it.each([undefined, 'JWT', 'jwt', 'application/jwt'])('typ %s is accepted, and told once', async (typ) => {
    const { verify, told } = setUp(tolerant)
    const text = await header({ typ })
    for (let nth = 0; nth < 3; nth += 1) expect(await verify(text)).toMatchObject({ clientId: '42' })
    expect(told).toEqual([
      { event: 'tolerance.used', fields: { senderDomain: 'nextcloud1.docker', tolerance: 'untyped-tokens' } },
    ])
  })

  it.each(['logout+jwt', 'dpop+jwt', ''])('typ %j is refused also then', async (typ) => {
    const text = await header({ typ })
    expect(await outcomeOf(() => setUp(tolerant).verify(text))).toBe('401 token_type')
  })
})

describe('what is no JWT', () => {
  const opaque = ['', 'a', 'deadbeef'.repeat(8), 'a.b', 'a.b.c', 'a.b.c.d.e', '..', 'e30.e30', `${'A'.repeat(40)}.e30.`]

  it.each(opaque)('%j is not ours to judge', async (text) => {
    const { verify, looked } = setUp()
    expect(await verify(text)).toBeUndefined()
    expect(looked).toEqual([])
  })

  it('is refused when nobody recognises it', async () => {
    const { verifier, paired } = setUp()
    const credentials = createCredentials([verifier])
    for (const text of opaque) {
      expect(await outcomeOf(() => credentials.verify(text, paired, 'somebody'))).toBe('401 credential_opaque')
    }
    const text = await token()
    expect(await credentials.verify(text, paired, 'somebody')).toMatchObject({ clientId: '42' })
  })
})
