import { createHmac, sign } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createOutbound, type Outbound, OutboundError } from '../../src/core/outbound.ts'
import { close } from '../../src/demo/listen.ts'
import { createPlaces } from '../../src/http/places.ts'
import { decodePath, parseTarget } from '../../src/proxy/target.ts'
import { createGrants } from '../../src/shares/grant.ts'
import { createRecords } from '../../src/shares/records.ts'
import { parseWithoutSecrets, readProvisioning, readShareId } from '../../src/shares/share.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { createJwtVerifier } from '../../src/trust/credentials/jwt.ts'
import { createCredentials } from '../../src/trust/credentials/registry.ts'
import { createDiscover } from '../../src/trust/discovery.ts'
import { verifySignature } from '../../src/trust/http-signature.ts'
import { importVerificationKey, type KeyKind } from '../../src/trust/jwk.ts'
import { createKeys } from '../../src/trust/keys.ts'
import { createPairings, type Pairing } from '../../src/trust/pairings.ts'
import type { SignedMessage } from '../../src/trust/signature-base.ts'
import { genericApp, serverConfig } from '../unit/apps/generic/webapp.ts'
import {
  createClock,
  createPeerKey,
  createToldEvents,
  outcomeOf,
  pairingOf,
  provisioning,
  START,
  sessionOf,
} from '../unit/fixtures.ts'
import { forge, type Minting, mint } from '../unit/peer-tokens.ts'
import { FOUR, headerOf, type Signing, signedRequest, withHeaders } from '../unit/signed-request.ts'

/** The rooms that a push or a token goes through, with what the peers publish given as documents. */
function setUp(documents: Record<string, unknown>, ...written: [string, Record<string, unknown>?][]) {
  const clock = createClock()
  const { events } = createToldEvents()
  const asked: string[] = []
  const getJson = async (url: string) => {
    asked.push(url)
    if (documents[url] === undefined) throw new OutboundError(`${url} answered 404`)
    return documents[url]
  }
  const paired = written.map(([domain, more]) => pairingOf(domain, more))
  const pairings = createPairings(paired, { insecureLoopback: false })
  const outbound = { getJson } as unknown as Outbound
  const keys = createKeys({
    outbound,
    discover: createDiscover({ outbound, insecureLoopback: false }),
    now: clock.now,
    events,
  })
  const records = createRecords({ store: createMemoryStore({ now: clock.now }), now: clock.now })
  const grants = createGrants({ records, now: clock.now })
  const credentials = createCredentials([createJwtVerifier({ pairings, keys, now: clock.now, events })])
  const pairingNamed = (domain: string) => pairings.find(domain) ?? expect.fail(`${domain} is not paired`)
  let created = START

  /** What the sender’s key says of a request. */
  const signature = (domain: string, message: SignedMessage, body: Buffer) => {
    const pairing = pairingNamed(domain)
    const tolerateUntagged = pairing.tolerate.includes('untagged-signatures')
    const findKey = (kid: string) => keys.find(pairing, kid)
    const rules = { now: clock.now(), senderDomain: domain, tolerateUntagged, findKey }
    return outcomeOf(() => verifySignature(message, body, rules))
  }
  const applied = () => {
    created += 1
    return { created, signature: `s${created}` }
  }
  const push = (body: string, pairing: Pairing = pairingNamed('nextcloud1.docker')) => {
    const identified = readProvisioning(parseWithoutSecrets(body))
    if (Array.isArray(identified)) throw new Error(identified.join())
    return records.provision(identified, applied(), pairing)
  }
  const revoke = (body: Record<string, unknown>, pairing: Pairing = pairingNamed('nextcloud1.docker')) =>
    records.revoke({ senderDomain: pairing.domain, shareId: readShareId(body) ?? '' }, applied(), pairing)
  const launch = (token: string) =>
    outcomeOf(async () => grants.of(await credentials.verify(token, paired, 'somebody')))
  return { clock, documents, asked, keys, records, signature, push, revoke, launch, pairingNamed }
}

const wellKnown = (domain: string) => `https://${domain}/.well-known/jwks.json`
const published = (domain: string, ...jwks: unknown[]) => ({ [wellKnown(domain)]: { keys: jwks } })

const RAW = { dsaEncoding: 'ieee-p1363' } as const
const ES256 = { hash: 'sha256', options: RAW }
const NC1 = 'nextcloud1.docker'
const NC1_KID = 'https://nextcloud1.docker/ocm#ecdsa-p256-sha256-1'
const nc1 = createPeerKey('P-256', NC1_KID, { alg: 'ES256' })
const TOKEN: Minting = { key: nc1.privateKey, kid: NC1_KID, alg: 'ES256' }
const token = (claims: Record<string, unknown> = {}) => mint({ ...TOKEN, claims })

describe('signatures on the wire', () => {
  const NC34_JWK = {
    kty: 'EC',
    crv: 'P-256',
    kid: 'https://bob.local/ocm#ecdsa-p256-sha256-1',
    alg: 'ES256',
    use: 'sig',
    x: 'apSeW-rl-CeXnV48zbClwMP89W5MjrunUOX6ZYRb9jI',
    y: '--kUpg4E5bfn6djaoKzbUmu0wM3_cdpbxRbW7eGzVqg',
  }
  const NC34: SignedMessage = {
    method: 'POST',
    targetUri: 'https://apps.example.org/ocm/shares',
    headers: [
      [
        'Signature-Input',
        'ocm=("@method" "@target-uri" "content-digest" "content-length" "date");created=1778508707;keyid="https://bob.local/ocm#ecdsa-p256-sha256-1"',
      ],
      ['Signature', 'ocm=:KEHr3Pi8LwTFq5NKh1JuR14uBlyMOsZfDFG2usDGEpUsfEItmDIzWUDS157lh6dgN15u486nfPvQJs/RO2sSEw==:'],
      ['Content-Digest', 'sha-256=:vbX2lRKrpQcyDeGoMCp0yDUFFW1OxBpjl8l1IdfZrPo=:'],
      ['Date', 'Mon, 11 May 2026 14:11:47 GMT'],
      ['Content-Length', '436'],
    ],
  }

  it('V1: Nextcloud 34, no tag: refused by default, with the switch only for its age, and no key is fetched', async () => {
    const body = Buffer.alloc(436)
    const strict = setUp(published('bob.local', NC34_JWK), ['bob.local'])
    const tolerant = setUp(published('bob.local', NC34_JWK), ['bob.local', { tolerate: ['untagged-signatures'] }])
    strict.clock.set(1_778_508_707)
    expect(await strict.signature('bob.local', NC34, body)).toBe('401 signature_untagged')
    tolerant.clock.set(1_778_508_707 + 301)
    expect(await tolerant.signature('bob.local', NC34, body)).toBe('401 signature_stale')
    tolerant.clock.set(1_778_508_707 + 300)
    expect(await tolerant.signature('bob.local', NC34, body)).toBe('401 digest_mismatch')
    expect([...strict.asked, ...tolerant.asked]).toEqual([])
    expect(importVerificationKey(NC34_JWK)).toMatchObject({ kid: NC34_JWK.kid, kind: 'P-256', alg: 'ES256' })
  })

  const nextcloud: Signing = { keyid: NC1_KID, key: nc1.privateKey, ...ES256 }
  const created = `;created=${START}`
  const keyid = `;keyid="${NC1_KID}"`
  it.each([
    ['the tag last', `${created}${keyid};tag="ocm"`, FOUR],
    ['the tag before created', `;tag="ocm"${created}${keyid}`, FOUR],
    ['the tag between, components in another order', `${created};tag="ocm"${keyid}`, FOUR.toReversed()],
  ])('V2: Nextcloud 35, %s', async (_what, parameters, components) => {
    const { signature, asked } = setUp(published(NC1, nc1.jwk), [NC1])
    const { message, body } = signedRequest({ ...nextcloud, parameters, components })
    expect(await signature(NC1, message, body)).toBe('ok')
    expect(asked).toEqual(['https://nextcloud1.docker/.well-known/ocm', wellKnown(NC1)])
  })

  const OCM1 = 'ocm1.example:9200'
  const ocm1 = createPeerKey('Ed25519', 'ocm1.example:9200#key1', { alg: 'Ed25519' })
  const opencloudmesh: Signing = {
    keyid: ocm1.kid,
    key: ocm1.privateKey,
    parameters: ';created=1730815200;keyid="ocm1.example:9200#key1";alg="ed25519";tag="ocm"',
  }
  it('V3: opencloudmesh-go: keyid with a port and without scheme, alg ed25519, JWK alg Ed25519', async () => {
    const { signature } = setUp(published(OCM1, ocm1.jwk), [OCM1])
    const { message, body } = signedRequest(opencloudmesh)
    expect(await signature(OCM1, message, body)).toBe('ok')
  })

  it.each(['sig1', 'wiredlabel'])('V4: the label is %s', async (label) => {
    const { signature } = setUp(published(OCM1, ocm1.jwk), [OCM1])
    const { message, body } = signedRequest({ ...opencloudmesh, label })
    expect(await signature(OCM1, message, body)).toBe('ok')
  })

  it('V4: a proxy’s own signature sig1, untagged, stands before the one tagged ocm', async () => {
    const { signature } = setUp(published(OCM1, ocm1.jwk), [OCM1])
    const { message, body } = signedRequest(opencloudmesh)
    const both = withHeaders(message, {
      'signature-input': `sig1=("@authority");created=1;keyid="proxy", ${headerOf(message, 'signature-input')}`,
      signature: `sig1=:AAAA:, ${headerOf(message, 'signature')}`,
    })
    expect(await signature(OCM1, both, body)).toBe('ok')
  })

  it.each([
    [
      'two members tagged ocm with different keyids',
      (input: string) => `${input}, b=("@method")${created};keyid="x#y";tag="ocm"`,
    ],
    ['the label ocm twice', (input: string) => `${input}, ${input}`],
  ])('V5: %s: 401 and no key fetched', async (_what, doubled) => {
    const { signature, asked } = setUp(published(OCM1, ocm1.jwk), [OCM1])
    const { message, body } = signedRequest(opencloudmesh)
    const ambiguous = withHeaders(message, { 'signature-input': doubled(headerOf(message, 'signature-input')) })
    expect(await signature(OCM1, ambiguous, body)).toBe('401 signature_ambiguous')
    expect(asked).toEqual([])
  })

  it('V6: Nextcloud below a webroot: keyid and owner have it, iss has not', async () => {
    const kid = 'https://cloud.example/nextcloud/ocm#ecdsa-p256-sha256-2'
    const key = createPeerKey('P-256', kid, { alg: 'ES256' })
    const { signature, push, launch, pairingNamed } = setUp(published('cloud.example', key.jwk), ['cloud.example'])
    const { message, body } = signedRequest({ keyid: kid, key: key.privateKey, ...ES256 })
    expect(await signature('cloud.example', message, body)).toBe('ok')
    const owner = 'alice@cloud.example/nextcloud'
    await push(JSON.stringify(provisioning({ owner, sender: owner })), pairingNamed('cloud.example'))
    const claims = { iss: 'https://cloud.example' }
    expect(await launch(await mint({ key: key.privateKey, kid, alg: 'ES256', claims }))).toBe('ok')
  })

  it.each([
    ['https://nextcloud1.docker/index.php/ocm#signature', 'ok'],
    ['signature', '401 key_unknown'],
    ['#signature', '401 key_unknown'],
  ])('V7: keyid https://nextcloud1.docker/index.php/ocm#signature, kid %s: %s', async (kid, outcome) => {
    const { signature } = setUp(published(NC1, { ...nc1.jwk, kid }), [NC1])
    const { message, body } = signedRequest({
      ...nextcloud,
      keyid: 'https://nextcloud1.docker/index.php/ocm#signature',
    })
    expect(await signature(NC1, message, body)).toBe(outcome)
  })

  it.each([
    'https://evil.example/ocm#ecdsa-p256-sha256-1',
    'https://good.example@evil.example/ocm#ecdsa-p256-sha256-1',
    'https://evil.example@good.example/ocm#ecdsa-p256-sha256-1',
    'good.example.evil.example#key1',
    'https://good.example.evil.example/ocm#key1',
    'evil.example/good.example#key1',
  ])('V8: the sender is good.example, keyid is %s: 401 and no key fetched', async (look) => {
    const { signature, asked } = setUp(published('good.example', { ...nc1.jwk, kid: look }), ['good.example'])
    const { message, body } = signedRequest({ ...nextcloud, keyid: look })
    expect(await signature('good.example', message, body)).toBe('401 signature_keyid')
    expect(asked).toEqual([])
  })

  it('V9: rotation: -1, -2, -3 published; -1 dropped; -4 unknown costs one fetch, then a cooldown', async () => {
    const keys = [1, 2, 3, 4].map((n) => createPeerKey('P-256', `https://nextcloud1.docker/ocm#ecdsa-p256-sha256-${n}`))
    const [one, two, three, four] = keys.map(({ kid, privateKey }) =>
      signedRequest({ keyid: kid, key: privateKey, ...ES256 }),
    )
    const keysUrl = wellKnown(NC1)
    const { signature, asked, documents, clock } = setUp(published(NC1, ...keys.slice(0, 3).map(({ jwk }) => jwk)), [
      NC1,
      { keysUrl },
    ])
    const by = (signed = one) => (signed ? signature(NC1, signed.message, signed.body) : expect.fail())
    expect([await by(one), await by(two), await by(three)]).toEqual(['ok', 'ok', 'ok'])
    expect(asked).toHaveLength(1)
    Object.assign(documents, published(NC1, ...keys.slice(1, 3).map(({ jwk }) => jwk)))
    expect(await by(four)).toBe('401 key_unknown')
    expect(asked).toHaveLength(2)
    expect([await by(four), await by(four), await by(one)]).toEqual(Array(3).fill('401 key_unknown'))
    expect(asked).toHaveLength(2)
    expect(await by(two)).toBe('ok')
    Object.assign(documents, published(NC1, ...keys.map(({ jwk }) => jwk)))
    clock.advance(30)
    expect(await by(four)).toBe('ok')
    expect(asked).toHaveLength(3)
  })

  it('V10: an empty key set is passing: 503, then good keys are accepted', async () => {
    const { signature, documents, clock } = setUp(published(NC1), [NC1])
    const { message, body } = signedRequest(nextcloud)
    expect(await signature(NC1, message, body)).toBe('503 keys_unavailable')
    Object.assign(documents, published(NC1, nc1.jwk))
    clock.advance(5)
    expect(await signature(NC1, message, body)).toBe('ok')
    clock.advance(200)
    Object.assign(documents, published(NC1))
    expect(await signature(NC1, message, body)).toBe('ok')
  })

  it('V10: a JWK without alg is read by its kty and crv; an EC key with alg RS256 is not read', async () => {
    const { message, body } = signedRequest(nextcloud)
    const without = setUp(published(NC1, { ...nc1.jwk, alg: undefined }), [NC1])
    expect(await without.signature(NC1, message, body)).toBe('ok')
    const other = createPeerKey('P-256', 'other')
    const wrong = setUp(published(NC1, { ...nc1.jwk, alg: 'RS256' }, other.jwk), [NC1])
    expect(await wrong.signature(NC1, message, body)).toBe('401 key_unknown')
  })

  it.each([
    ['Nextcloud’s', 'https://nextcloud1.docker/index.php/apps/cloud_federation_api/api/v1/jwks'],
    ['on another host', 'https://keys.example.net/jwks'],
    ['absent', undefined],
  ])('V11: jwksUri %s', async (_where, jwksUri) => {
    const discovery = { 'https://nextcloud1.docker/.well-known/ocm': { jwksUri } }
    const { signature, asked } = setUp({ ...discovery, [jwksUri ?? wellKnown(NC1)]: { keys: [nc1.jwk] } }, [NC1])
    const { message, body } = signedRequest(nextcloud)
    expect(await signature(NC1, message, body)).toBe('ok')
    expect(asked.at(-1)).toBe(jwksUri ?? wellKnown(NC1))
  })

  it.each([
    ['http', () => 'http://keys.example.net/jwks', /is not https/],
    ['a private address', () => 'https://10.0.0.1/jwks', /is a private address/],
    [
      'redirecting to a private address',
      (own: string) => `${own}/redirect`,
      /redirects to http:\/\/169\.254\.169\.254/,
    ],
  ])('V11: jwksUri %s is not followed', async (_what, jwksUri, why) => {
    const server = createServer((req, res) => {
      if (req.url === '/redirect') return void res.writeHead(302, { location: 'http://169.254.169.254/jwks' }).end()
      res.end(JSON.stringify({ jwksUri: jwksUri(`http://${req.headers.host}`) }))
    })
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    const outbound = createOutbound({ insecureLoopback: true })
    onTestFinished(async () => {
      await outbound.close()
      await close(server)
    })
    const { events, told } = createToldEvents()
    const keys = createKeys({
      outbound,
      discover: createDiscover({ outbound, insecureLoopback: true }),
      now: createClock().now,
      events,
    })
    const pairing = pairingOf(`cloud.localhost:${(server.address() as AddressInfo).port}`)
    expect(await outcomeOf(() => keys.find(pairing, 'k'))).toBe('503 keys_unavailable')
    expect(told.at(-1)?.fields.message).toMatch(why)
  })

  const date = 'Mon, 11 May 2026 14:11:47 GMT'
  it.each([
    ['not covered', FOUR, 'ok'],
    ['covered', [...FOUR, 'date'], '401 signature_invalid'],
  ])('V23: Date is %s and a proxy rewrote it: %s', async (_what, components, outcome) => {
    const { signature } = setUp(published(NC1, nc1.jwk), [NC1])
    const { message, body } = signedRequest({ ...nextcloud, components, headers: { date } })
    expect(await signature(NC1, message, body)).toBe('ok')
    const rewritten = withHeaders(message, { date: 'Mon, 11 May 2026 14:11:48 GMT' })
    expect(await signature(NC1, rewritten, body)).toBe(outcome)
  })

  it('V23: Content-Length was signed, and a proxy made the request chunked', async () => {
    const { signature, asked } = setUp(published(NC1, nc1.jwk), [NC1])
    const { message, body } = signedRequest(nextcloud)
    const chunked = withHeaders(message, { 'content-length': undefined, 'transfer-encoding': 'chunked' })
    expect(await signature(NC1, chunked, body)).toBe('401 signature_length')
    expect(asked).toEqual([])
  })

  it('V24: @target-uri is what the sender dialled, whatever Host and X-Forwarded-* say', async () => {
    const { signature } = setUp(published(NC1, nc1.jwk), [NC1])
    const targetUri = 'https://hub.example/services/ocm/shares'
    const { message, body } = signedRequest({ ...nextcloud, targetUri })
    const behind = withHeaders(message, {}, [
      ['Host', '127.0.0.1:8080'],
      ['X-Forwarded-Host', 'evil.example'],
      ['X-Forwarded-Proto', 'http'],
    ])
    expect(await signature(NC1, behind, body)).toBe('ok')
    const spoofed = signedRequest({ ...nextcloud, targetUri: 'https://evil.example/services/ocm/shares' })
    const replayed = withHeaders({ ...spoofed.message, targetUri }, {}, [['X-Forwarded-Host', 'evil.example']])
    expect(await signature(NC1, replayed, spoofed.body)).toBe('401 signature_invalid')
  })
})

describe('tokens on the wire', () => {
  const paired = (...more: [string, Record<string, unknown>?][]) => setUp(published(NC1, nc1.jwk), [NC1], ...more)

  it('V12: a token of current Nextcloud opens the share that was pushed', async () => {
    const { push, launch } = paired()
    await push(JSON.stringify(provisioning()))
    expect(await launch(await token())).toBe('ok')
  })

  it.each([
    ['42', 42, 'ok'],
    [42, '42', 'ok'],
    ['042', 42, '404 share_unknown'],
    ['42.0', 42, '404 share_unknown'],
    [' 42', 42, '404 share_unknown'],
    [42, ' 42', '404 share_unknown'],
  ])('V13: client_id %j, providerId %j: %s', async (clientId, providerId, outcome) => {
    const { push, launch } = paired()
    await push(JSON.stringify(provisioning({ providerId })))
    expect(await launch(await token({ client_id: clientId }))).toBe(outcome)
  })

  it('V13: the same id from another issuer', async () => {
    const kid = 'https://other.example/ocm#ecdsa-p256-sha256-1'
    const other = createPeerKey('P-256', kid)
    const { push, launch } = setUp(
      { ...published(NC1, nc1.jwk), ...published('other.example', other.jwk) },
      [NC1],
      ['other.example'],
    )
    await push(JSON.stringify(provisioning()))
    const claims = { iss: 'https://other.example' }
    expect(await launch(await mint({ key: other.privateKey, kid, alg: 'ES256', claims }))).toBe('404 share_unknown')
    expect(await launch(await mint({ key: other.privateKey, kid: NC1_KID, alg: 'ES256' }))).toBe('401 token_signature')
    expect(await launch(await mint({ ...TOKEN, claims }))).toBe('401 key_unknown')
  })

  it.each([
    ['alice@corp.org', 'alice@corp.org@nextcloud1.docker', 'ok'],
    ['alice', 'alice@nextcloud1.docker', 'ok'],
    ['alice', 'alice@nextcloud1.docker.evil', '403 owner_mismatch'],
    ['alice', 'alice@corp.org@nextcloud1.docker', '403 owner_mismatch'],
    ['alice@evil.example', 'alice@nextcloud1.docker', '403 owner_mismatch'],
  ])('V14: sub %s, owner %s: %s', async (sub, owner, outcome) => {
    const { push, launch } = paired()
    await push(JSON.stringify(provisioning({ owner })))
    expect(await launch(await token({ sub }))).toBe(outcome)
  })

  it('V15: an older Nextcloud’s token is refused with the advice to upgrade, its PEM is not consulted', async () => {
    const kid = 'https://nextcloud1.docker/ocm#signature'
    const legacy = createPeerKey('RSA', kid)
    const publicKeyPem = legacy.publicKey.export({ format: 'pem', type: 'spki' })
    const discovery = { publicKey: { keyId: kid, publicKeyPem } }
    const documents = { 'https://nextcloud1.docker/.well-known/ocm': discovery, ...published(NC1, nc1.jwk) }
    const by = { key: legacy.privateKey, kid, alg: 'RS256' }
    for (const [typ, tolerate, refusal] of [
      ['JWT', [], '401 token_legacy'],
      ['JWT', ['untyped-tokens'], '401 token_legacy'],
      ['at+jwt', [], '401 key_unknown'],
    ] as const) {
      const { launch } = setUp(documents, [NC1, { tolerate }])
      expect(await launch(await mint({ ...by, header: { typ } }))).toBe(refusal)
    }
  })

  it.each(['P-256', 'RSA'] as KeyKind[])('V16: HS256 keyed with the public %s key, as PEM and as JWK', async (kind) => {
    const { publicKey, jwk } = createPeerKey(kind, NC1_KID)
    const { launch } = setUp(published(NC1, jwk), [NC1])
    for (const secret of [publicKey.export({ format: 'pem', type: 'spki' }), JSON.stringify(jwk)]) {
      expect(await launch(await mint({ key: Buffer.from(secret), kid: NC1_KID, alg: 'HS256' }))).toBe(
        '401 token_algorithm',
      )
    }
  })

  it('V16: alg none, a header that names another kind than the key, and DER', async () => {
    const rsa = createPeerKey('RSA', 'https://nextcloud1.docker/ocm#rsa')
    const { launch } = setUp(published(NC1, nc1.jwk, rsa.jwk), [NC1])
    const header = { typ: 'at+jwt', alg: 'ES256', kid: NC1_KID }
    const claims = JSON.parse(Buffer.from((await token()).split('.')[1] ?? '', 'base64url').toString())
    expect(await launch(forge({ ...header, alg: 'none' }, claims))).toBe('401 token_algorithm')
    expect(await launch(await mint({ ...TOKEN, kid: rsa.kid }))).toBe('401 token_algorithm')
    const signed = forge(header, claims).replace(/\.$/, '')
    const der = sign('sha256', Buffer.from(signed), nc1.privateKey).toString('base64url')
    expect(await launch(`${signed}.${der}`)).toBe('401 token_signature')
    const raw = sign('sha256', Buffer.from(signed), { key: nc1.privateKey, ...RAW }).toString('base64url')
    expect(await launch(`${signed}.${raw}`)).toBe('404 share_unknown')
  })

  it('V17: a reva token and an opaque token, each with its own answer', async () => {
    const { launch, asked } = paired(['receiver-idp'])
    const claims = { aud: ['reva'], iss: 'https://receiver-idp', exp: START + 86_400, iat: START, scope: {} }
    const signed = forge({ alg: 'HS256', typ: 'JWT' }, claims).replace(/\.$/, '')
    const reva = `${signed}.${createHmac('sha256', 'jwt_secret').update(signed).digest('base64url')}`
    expect(await launch(reva)).toBe('401 token_algorithm')
    expect(await paired().launch(reva)).toBe('401 issuer_not_paired')
    expect(await launch('0123456789abcdef'.repeat(4))).toBe('401 credential_opaque')
    expect(asked).toEqual([])
  })

  it.each([
    [300, 'ok'],
    [86_400, 'ok'],
    [-1, 'ok'],
    [-59, 'ok'],
    [-60, '401 token_expired'],
    [-61, '401 token_expired'],
  ])('V18: exp %d s from now: %s', async (seconds, outcome) => {
    const { push, launch } = paired()
    await push(JSON.stringify(provisioning()))
    expect(await launch(await token({ exp: START + seconds }))).toBe(outcome)
  })
})

describe('pushes on the wire', () => {
  /** Newest: `clientId` gone, `providerId` is the token’s row id. */
  const V3 = String.raw`{"shareWith":"bob@https:\/\/nextcloud2.docker\/","name":"Caf\u00e9","description":null,"providerId":"57","owner":"alice@nextcloud1.docker","ownerDisplayName":"Alice","sender":"alice@nextcloud1.docker","senderDisplayName":"Alice","shareType":"user","resourceType":"folder","protocol":{"name":"multi","options":{},"webapp":{"uri":"https://apps.example.org/notes/.ocm/open","targets":["redirect"],"name":"JupyterLab","appName":"JupyterLab","mimeType":"application/vnd.jupyter","mediaType":"application/vnd.jupyter","permissions":["view","read","write"]},"webdav":{"uri":"https://nextcloud1.docker/public.php/webdav/","permissions":["read","write"],"requirements":["must-exchange-token"]}}}`
  /** Older: the token’s row id is `clientId`, the share’s is `providerId`. */
  const V2 = V3.replace('"providerId":"57"', '"providerId":"42"').replace(
    '"permissions":["view"',
    '"clientId":"57","permissions":["view"',
  )
  /** Earliest: the entry stands in `options`. */
  const V1 = String.raw`{"shareWith":"bob@nextcloud2.docker","name":"Caf\u00e9","description":"","providerId":"42","owner":"alice@nextcloud1.docker","ownerDisplayName":"Alice","sender":"alice@nextcloud1.docker","senderDisplayName":"Alice","shareType":"user","resourceType":"webapp","protocol":{"name":"webapp","options":{"sharedSecret":"hunter2","uri":"https://apps.example.org/notes/.ocm/open","viewMode":"write","clientId":"57"}}}`

  it.each([
    ['v1', V1, '57', '42', ['write']],
    ['v2', V2, '57', '42', ['view', 'read', 'write']],
    ['v3', V3, '57', '57', ['view', 'read', 'write']],
  ])('V21: a body of integration_jupyterhub %s', async (_version, body, shareId, providerId, permissions) => {
    const { push, records, launch } = setUp(published(NC1, nc1.jwk), [NC1])
    expect(await push(body)).toBe('stored')
    expect(await push(body)).toBe('replaced')
    const record = await records.find({ senderDomain: NC1, shareId })
    expect(record).toMatchObject({ share: { name: 'Caf\u00e9', providerId, webapp: { permissions } } })
    expect(JSON.stringify(record)).not.toContain('hunter2')
    expect(await launch(await token({ client_id: '57' }))).toBe('ok')
    expect(await launch(await token({ client_id: '42' }))).toBe('404 share_unknown')
  })

  it('V21: what the entries say besides', async () => {
    const { push, records } = setUp({}, [NC1])
    await push(V3)
    expect(await records.find({ senderDomain: NC1, shareId: '57' })).toMatchObject({
      share: {
        ownerDisplayName: 'Alice',
        webdav: { uri: 'https://nextcloud1.docker/public.php/webdav/' },
        webapp: {
          appName: 'JupyterLab',
          mediaTypes: ['application/vnd.jupyter'],
          targets: ['blank'],
          requirements: [],
        },
      },
    })
  })

  it('V22: revoked, then gone; another sender’s revocation of the same id changes nothing', async () => {
    const { push, revoke, records, launch, pairingNamed } = setUp(published(NC1, nc1.jwk), [NC1], ['other.example'])
    const body = { sender: 'mallory@other.example', providerId: '57' }
    await push(V3)
    expect(await revoke(body, pairingNamed('other.example'))).toBe('gone')
    expect(await launch(await token({ client_id: '57' }))).toBe('ok')
    expect(await revoke({ sender: 'alice@nextcloud1.docker', providerId: 57 })).toBe('revoked')
    expect(await revoke({ sender: 'alice@nextcloud1.docker', providerId: '57' })).toBe('gone')
    expect(await records.find({ senderDomain: NC1, shareId: '57' })).toBe('revoked')
    expect(await launch(await token({ client_id: '57' }))).toBe('410 share_revoked')
  })

  it('V22: the older close names the share by clientId', async () => {
    const { push, revoke } = setUp({}, [NC1])
    await push(V2)
    expect(await revoke({ sender: 'alice@nextcloud1.docker', providerId: '42' })).toBe('gone')
    expect(await revoke({ sender: 'alice@nextcloud1.docker', clientId: '57' })).toBe('revoked')
  })
})

describe('the path behind the launch URL', () => {
  const app = genericApp()
  const places = createPlaces(serverConfig(), [app])

  it.each([
    ['/notes/.ocm/open/notes/a%20b.ipynb', '/notes/notes/a%20b.ipynb'],
    ['/notes/.ocm/open/4711', '/notes/4711'],
    ['/notes/.ocm/open', '/notes/'],
  ])('V25: %s is a hint: %s', async (raw, landing) => {
    const place = places.find('apps.example.org', parseTarget(raw))
    const suffix = place.kind === 'own' ? decodePath(place.suffix ?? '') : expect.fail()
    expect(await app.ready(sessionOf({ suffix }))).toBe(landing)
  })

  it.each(['..%2f..%2fetc', '../etc', '%2e%2e/etc', 'a/..%5cetc', 'a%00'])('V25: …/open/%s: 400', async (suffix) => {
    expect(await outcomeOf(() => parseTarget(`/notes/.ocm/open/${suffix}`))).toBe('400 target_malformed')
  })
})
