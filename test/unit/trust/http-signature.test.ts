import { constants, createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GatewayError, unavailable } from '../../../src/core/errors.ts'
import { keyidAuthority, type SignatureRules, signRequest, verifySignature } from '../../../src/trust/http-signature.ts'
import { importVerificationKey, type KeyKind, type VerificationKey } from '../../../src/trust/jwk.ts'
import { ComponentError, type SignedMessage, signatureBase } from '../../../src/trust/signature-base.ts'
import { createPeerKey, outcomeOf, START } from '../fixtures.ts'
import { FOUR, headerOf, type Signing, sha256Digest, signedRequest, TARGET, withHeaders } from '../signed-request.ts'

const KEYID = 'cloud.example.org#key1'
const ed25519 = createPeerKey('Ed25519', KEYID)
const p256 = createPeerKey('P-256', KEYID)
const p384 = createPeerKey('P-384', KEYID)
const rsa = createPeerKey('RSA', KEYID)

const RAW = { dsaEncoding: 'ieee-p1363' } as const
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
const BY_P256 = { key: p256.privateKey, hash: 'sha256', options: RAW }
const GOOD: Signing = { keyid: KEYID, key: ed25519.privateKey }

function imported(jwk: unknown): VerificationKey {
  const key = importVerificationKey(jwk)
  if (typeof key === 'string') throw new Error(key)
  return key
}

/** Verifies with a key that is found for every keyid, counting how often it is looked for. */
function verifier(jwk: Record<string, unknown> = ed25519.jwk, rules: Partial<SignatureRules> = {}) {
  const looked: string[] = []
  const findKey = async (keyid: string) => {
    looked.push(keyid)
    return imported(jwk)
  }
  const all = { now: START, senderDomain: 'cloud.example.org', tolerateUntagged: false, findKey, ...rules }
  return { looked, verify: (message: SignedMessage, body: Buffer) => verifySignature(message, body, all) }
}

/** The outcome, and how many keys were looked for. */
async function tried(
  message: SignedMessage,
  body: Buffer,
  jwk?: Record<string, unknown>,
  rules?: Partial<SignatureRules>,
) {
  const { looked, verify } = verifier(jwk, rules)
  return [await outcomeOf(() => verify(message, body)), looked.length]
}

const params = (text: string) => ({ parameters: text })
const tagged = (more: string) => params(`;created=${START};keyid="${KEYID}";tag="ocm"${more}`)
const keyid = (text: string) => params(`;created=${START};keyid="${text}";tag="ocm"`)
const created = (text: string | number) => params(`;created=${text};keyid="${KEYID}";tag="ocm"`)
const expires = (text: string | number) => tagged(`;expires=${text}`)

describe('a signature as OCM asks for it', () => {
  it.each([
    ['in its simplest form', {}],
    ['under another label', { label: 'sig1' }],
    ['with date covered', { components: [...FOUR, 'date'], headers: { date: 'Mon, 11 May 2026 14:11:47 GMT' } }],
    ['with the components in another order', { components: FOUR.toReversed() }],
    ['with the parameters in another order', params(`;tag="ocm";keyid="${KEYID}";nonce="n";created=${START}`)],
    ['exactly 300 s old', created(START - 300)],
    ['exactly 60 s in the future', created(START + 60)],
    ['expiring this second', expires(START)],
    ['with the alg of its key', tagged(';alg="ed25519"')],
    ['with a foreign parameter', tagged(';x-other')],
    ['over a query', { targetUri: `${TARGET}?a=%20b&c` }],
    ['over an empty body', { body: '' }],
  ] as [string, Partial<Signing>][])('is accepted %s', async (_form, change) => {
    const { message, body } = signedRequest({ ...GOOD, ...change })
    expect(await tried(message, body)).toEqual(['ok', 1])
  })

  it('tells keyid, created and a fingerprint of the signature bytes', async () => {
    const { message, body } = signedRequest(GOOD)
    const { verify, looked } = verifier()
    const verified = await verify(message, body)
    expect(verified).toMatchObject({ keyid: KEYID, created: START, untagged: false })
    expect(verified.fingerprint).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(await verify(message, body)).toEqual(verified)
    const other = signedRequest({ ...GOOD, ...created(START - 1) })
    expect((await verify(other.message, other.body)).fingerprint).not.toBe(verified.fingerprint)
    expect(looked).toEqual([KEYID, KEYID, KEYID])
  })

  it('has one fingerprint, however its ECDSA bytes are varied: (r, s) and (r, n − s) both verify', async () => {
    const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
    const key = createPeerKey('P-256', 'cloud.example.org#1')
    const { message, body } = signedRequest({
      keyid: key.kid,
      key: key.privateKey,
      hash: 'sha256',
      options: { dsaEncoding: 'ieee-p1363' },
    })
    const twin = message.headers.map(([name, value]): [string, string] => {
      if (name !== 'signature') return [name, value]
      const bytes = Buffer.from(/:(.*):/.exec(value)?.[1] ?? '', 'base64')
      const s = N - BigInt(`0x${bytes.subarray(32).toString('hex')}`)
      bytes.write(s.toString(16).padStart(64, '0'), 32, 'hex')
      return [name, `ocm=:${bytes.toString('base64')}:`]
    })
    const published = importVerificationKey(key.jwk)
    if (typeof published === 'string') throw new Error(published)
    const rules = {
      now: START,
      senderDomain: 'cloud.example.org',
      tolerateUntagged: false,
      findKey: async () => published,
    }
    const [one, other] = [
      await verifySignature(message, body, rules),
      await verifySignature({ ...message, headers: twin }, body, rules),
    ]
    expect(other.fingerprint).toBe(one.fingerprint)
  })

  it('stands beside signatures that are not OCM’s', async () => {
    const { message, body } = signedRequest(GOOD)
    const joined = withHeaders(message, {
      'signature-input': `proxy=("@status");created=1;tag="a, ocm=b", ${headerOf(message, 'signature-input')}`,
      signature: `proxy=:AAAA:, ${headerOf(message, 'signature')}`,
    })
    expect(await tried(joined, body)).toEqual(['ok', 1])
    const apart = withHeaders(message, {}, [
      ['Signature-Input', 'sig1=();created=1'],
      ['Signature', 'sig1=:AAAA:'],
    ])
    expect(await tried(apart, body)).toEqual(['ok', 1])
  })

  it('is what signRequest makes', async () => {
    const body = Buffer.from('{"a":1}')
    for (const [kind, { jwk, privateKey }] of [
      ['Ed25519', ed25519],
      ['P-256', p256],
      ['P-384', p384],
    ] as const) {
      const headers = signRequest({ method: 'POST', url: TARGET, body }, { keyid: KEYID, key: privateKey, kind }, START)
      const message = { method: 'POST', targetUri: TARGET, headers: Object.entries(headers) }
      expect(await tried(message, body, jwk)).toEqual(['ok', 1])
    }
  })
})

const good = signedRequest(GOOD)
const goodInput = headerOf(good.message, 'signature-input')
const goodSignature = headerOf(good.message, 'signature')
const inputs = (text: string | undefined) => withHeaders(good.message, { 'signature-input': text })
const signatures = (text: string | undefined) => withHeaders(good.message, { signature: text })

describe('refused before any key is looked for', () => {
  it.each([
    ['no Signature-Input', 'signature_missing', inputs(undefined)],
    ['no Signature', 'signature_missing', signatures(undefined)],
    ['neither', 'signature_missing', withHeaders(inputs(undefined), { signature: undefined })],
    [
      'the Cavage draft',
      'signature_missing',
      withHeaders(inputs(undefined), { signature: 'keyId="https://c/ocm#signature"' }),
    ],
    ['no signature tagged ocm', 'signature_missing', inputs(goodInput.replace('tag="ocm"', 'tag="other"'))],
    ['the tag in another case', 'signature_missing', inputs(goodInput.replace('tag="ocm"', 'tag="OCM"'))],
    ['the tag as a token', 'signature_missing', inputs(goodInput.replace('tag="ocm"', 'tag=ocm'))],
    ['the label ocm without a tag', 'signature_untagged', inputs(goodInput.replace(';tag="ocm"', ''))],
    ['two signatures tagged ocm', 'signature_ambiguous', inputs(`${goodInput}, ${goodInput.replace('ocm=', 'b=')}`)],
    ['a label twice in Signature-Input', 'signature_ambiguous', inputs(`${goodInput}, ${goodInput}`)],
    ['a foreign label twice', 'signature_ambiguous', inputs(`a=();x=", b=", a=(), ${goodInput}`)],
    [
      'a label twice, in two fields',
      'signature_ambiguous',
      withHeaders(good.message, {}, [['Signature-Input', goodInput]]),
    ],
    ['a label twice in Signature', 'signature_ambiguous', signatures(`${goodSignature}, ocm=:AAAA:`)],
    ['a label twice, once as a flag', 'signature_ambiguous', signatures(`ocm, ${goodSignature}`)],
    ['Signature-Input that is no dictionary', 'signature_malformed', inputs('ocm=("@method"')],
    ['Signature that is no dictionary', 'signature_malformed', signatures('ocm=:!:')],
    ['a member that is no list', 'signature_malformed', inputs(`ocm="x";created=${START};keyid="${KEYID}";tag="ocm"`)],
    ['bytes under another label', 'signature_malformed', signatures(goodSignature.replace('ocm=', 'other='))],
    ['text in place of bytes', 'signature_malformed', signatures('ocm="AAAA"')],
    ['a list in place of bytes', 'signature_malformed', signatures('ocm=(:AAAA:)')],
    ['another Content-Length', 'signature_length', withHeaders(good.message, { 'content-length': '19' })],
    ['Content-Length with a sign', 'signature_length', withHeaders(good.message, { 'content-length': '+18' })],
    ['Content-Length twice', 'signature_length', withHeaders(good.message, {}, [['Content-Length', '18']])],
    ['no Content-Length', 'signature_length', withHeaders(good.message, { 'content-length': undefined })],
    ['no Content-Digest', 'digest_unsupported', withHeaders(good.message, { 'content-digest': undefined })],
    [
      'the digest of another body',
      'digest_mismatch',
      withHeaders(good.message, { 'content-digest': sha256Digest('{}') }),
    ],
    ['an unknown digest', 'digest_unsupported', withHeaders(good.message, { 'content-digest': 'md5=:AAAA:' })],
    ['a malformed digest', 'digest_malformed', withHeaders(good.message, { 'content-digest': 'sha-256=' })],
  ] as [string, string, SignedMessage][])('%s: %s', async (_what, reason, message) => {
    expect(await tried(message, good.body)).toEqual([`401 ${reason}`, 0])
  })

  it('the Cavage draft is told apart, so that its sender knows what to do', async () => {
    const cavage = 'keyId="https://cloud.example.org/ocm#signature",algorithm="rsa-sha512",signature="AAAA"'
    for (const message of [withHeaders(inputs(undefined), { signature: cavage }), signatures(cavage)]) {
      await expect(verifier().verify(message, good.body)).rejects.toThrow(/older Cavage draft; RFC 9421 is needed/)
    }
  })

  it.each([
    ['no created', 'signature_created', params(`;keyid="${KEYID}";tag="ocm"`)],
    ['created as a decimal', 'signature_created', created(`${START}.5`)],
    ['created as text', 'signature_created', created(`"${START}"`)],
    ['created as a date', 'signature_malformed', created(`@${START}`)],
    ['created in milliseconds', 'signature_future', created(START * 1000)],
    ['created 61 s in the future', 'signature_future', created(START + 61)],
    ['created 301 s ago', 'signature_stale', created(START - 301)],
    ['created before the epoch', 'signature_stale', created(-1)],
    ['expires a second ago', 'signature_expired', expires(START - 1)],
    ['expires as text', 'signature_expired', expires('"never"')],
    ['no keyid', 'signature_keyid', params(`;created=${START};tag="ocm"`)],
    ['keyid as a token', 'signature_keyid', params(`;created=${START};keyid=a;tag="ocm"`)],
    ['alg as a token', 'signature_algorithm', tagged(';alg=ed25519')],
    ['a symmetric alg', 'signature_algorithm', tagged(';alg="hmac-sha256"')],
    ['an alg that nobody knows', 'signature_algorithm', tagged(';alg="ed448"')],
    ['an empty alg', 'signature_algorithm', tagged(';alg=""')],
    ['a JWS name as alg', 'signature_algorithm', tagged(';alg="EdDSA"')],
    ...FOUR.map((name) => [
      `${name} not covered`,
      'signature_coverage',
      { components: FOUR.filter((other) => other !== name) },
    ]),
    ['nothing covered', 'signature_coverage', { components: [] }],
    ['a repeated component', 'signature_component', { components: [...FOUR, '@method'] }],
    ['@status', 'signature_component', { components: [...FOUR, '@status'] }],
    ['@signature-params', 'signature_component', { components: [...FOUR, '@signature-params'] }],
    ['an inherited name', 'signature_component', { components: [...FOUR, '@constructor'] }],
    ['a field in upper case', 'signature_component', { components: [...FOUR, 'Date'] }],
    ['a field that is not there', 'signature_component', { components: [...FOUR, 'date'] }],
  ] as [string, string, Partial<Signing>][])('%s: %s', async (_what, reason, change) => {
    const { message, body } = signedRequest({ ...GOOD, ...change })
    expect(await tried(message, body)).toEqual([`401 ${reason}`, 0])
  })

  it.each(['sf', 'bs', 'key="a"', 'req', 'tr', 'name="a"', 'unknown'])(
    'the component parameter ;%s, on a required component and beside it',
    async (parameter) => {
      const name = parameter.split('=')[0]
      const instead = inputs(goodInput.replace('"content-digest"', `"content-digest";${parameter}`))
      expect(await tried(instead, good.body)).toEqual(['401 signature_coverage', 0])
      const beside = inputs(goodInput.replace('"content-length"', `"content-length" "content-digest";${parameter}`))
      const error = await verifier()
        .verify(beside, good.body)
        .catch((thrown) => thrown)
      expect(error).toMatchObject({ status: 401, reason: 'signature_component' })
      expect(error.message).toContain(`;${name}`)
    },
  )

  it.each([
    ['@query-param without a name', '"@query-param"'],
    ['@query-param of something else', '"@query-param";key="a"'],
    ['@query-param that is missing', '"@query-param";name="a"'],
    ['@query-param with more', '"@query-param";name="b";req'],
    ['a component that is no string', 'method'],
  ])('%s', async (_what, component) => {
    const message = { ...inputs(goodInput.replace('"@method"', `"@method" ${component}`)), targetUri: `${TARGET}?b=1` }
    expect(await tried(message, good.body)).toEqual(['401 signature_component', 0])
  })

  it('@query-param that occurs twice', async () => {
    const message = {
      ...inputs(goodInput.replace('"@method"', '"@method" "@query-param";name="b"')),
      targetUri: `${TARGET}?b=1&b=1`,
    }
    expect(await tried(message, good.body)).toEqual(['401 signature_component', 0])
  })

  it.each([
    'evil.example#key1',
    'cloud.example.org.evil.example#key1',
    'evil-cloud.example.org#key1',
    'sub.cloud.example.org#key1',
    'https://evil.example/cloud.example.org/ocm#key1',
    'https://cloud.example.org@evil.example/ocm#key1',
    'https://evil.example@cloud.example.org/ocm#key1',
    'cloud.example.org:8443#key1',
    'https://cloud.example.org:80/ocm#key1',
    'http://cloud.example.org:4430/ocm#key1',
    'ftp://cloud.example.org/ocm#key1',
    '//cloud.example.org/ocm#key1',
    'cloud.example.org',
    'cloud.example.org#',
    'https://cloud.example.org/ocm',
    'cloud.example.org.#key1',
    ' cloud.example.org#key1',
    'cloud.example.org #key1',
    'https://evil.example\\\\@cloud.example.org/#key1',
    '#key1',
    '',
  ])('keyid %j is not of cloud.example.org', async (text) => {
    const { message, body } = signedRequest({ ...GOOD, ...keyid(text) })
    expect(await tried(message, body)).toEqual(['401 signature_keyid', 0])
  })
})

describe('keyid of the sender', () => {
  it.each([
    ['cloud.example.org#key1', 'cloud.example.org'],
    ['CLOUD.example.org#key1', 'cloud.example.org'],
    ['cloud.example.org:443#key1', 'cloud.example.org'],
    ['https://cloud.example.org/nextcloud/ocm#ecdsa-p256-sha256-1', 'cloud.example.org'],
    ['https://cloud.example.org/index.php/ocm#signature', 'cloud.example.org'],
    ['ocm1.example:9200#key1', 'ocm1.example:9200'],
    ['http://cloud.localhost:8080/ocm#key1', 'cloud.localhost:8080'],
    ['[::1]:8080#key1', '[::1]:8080'],
    ['cloud.example.org#key1#key2', 'cloud.example.org'],
  ])('%s is of %s', (text, authority) => {
    expect(keyidAuthority(text)).toBe(authority)
  })

  it('is looked up whole', async () => {
    const whole = 'https://cloud.example.org:443/nextcloud/ocm#ecdsa-p256-sha256-2'
    const { message, body } = signedRequest({ ...GOOD, keyid: whole })
    const { verify, looked } = verifier()
    await verify(message, body)
    expect(looked).toEqual([whole])
  })
})

describe('the bytes decide', () => {
  const cases: [string, Partial<Signing>, Record<string, unknown>, string][] = [
    ['ECDSA P-256, raw', BY_P256, p256.jwk, 'ok'],
    ['ECDSA P-384, raw', { key: p384.privateKey, hash: 'sha384', options: RAW }, p384.jwk, 'ok'],
    ['RSA v1.5 where nothing is said', { key: rsa.privateKey, hash: 'sha256' }, rsa.jwk, 'ok'],
    ['RSA v1.5 SHA-512, RS512 key', { key: rsa.privateKey, hash: 'sha512' }, { ...rsa.jwk, alg: 'RS512' }, 'ok'],
    ['RSA-PSS, PS512 key', { key: rsa.privateKey, hash: 'sha512', options: PSS }, { ...rsa.jwk, alg: 'PS512' }, 'ok'],
    ['RSA-PSS, PS256 key', { key: rsa.privateKey, hash: 'sha256', options: PSS }, { ...rsa.jwk, alg: 'PS256' }, 'ok'],
    [
      'RSA-PSS by its name, key without alg',
      { key: rsa.privateKey, hash: 'sha512', options: PSS, ...tagged(';alg="rsa-pss-sha512"') },
      rsa.jwk,
      'ok',
    ],
    [
      'ECDSA in DER',
      { key: p256.privateKey, hash: 'sha256', options: { dsaEncoding: 'der' } },
      p256.jwk,
      'signature_invalid',
    ],
    [
      'P-384 in DER',
      { key: p384.privateKey, hash: 'sha384', options: { dsaEncoding: 'der' } },
      p384.jwk,
      'signature_invalid',
    ],
    ['P-256 with SHA-512', { key: p256.privateKey, hash: 'sha512', options: RAW }, p256.jwk, 'signature_invalid'],
    [
      'RSA-PSS where nothing is said',
      { key: rsa.privateKey, hash: 'sha512', options: PSS },
      rsa.jwk,
      'signature_invalid',
    ],
    [
      'RSA v1.5 under a PS512 key',
      { key: rsa.privateKey, hash: 'sha512' },
      { ...rsa.jwk, alg: 'PS512' },
      'signature_invalid',
    ],
    ['another key of the same kind', {}, createPeerKey('Ed25519', KEYID).jwk, 'signature_invalid'],
    ['a key of another kind', {}, p256.jwk, 'signature_invalid'],
    ['ed25519 named, P-256 key', tagged(';alg="ed25519"'), p256.jwk, 'signature_algorithm'],
    ['ecdsa-p256-sha256 named, Ed25519 key', tagged(';alg="ecdsa-p256-sha256"'), ed25519.jwk, 'signature_algorithm'],
    [
      'ecdsa-p384-sha384 named, P-256 key',
      { ...BY_P256, ...tagged(';alg="ecdsa-p384-sha384"') },
      p256.jwk,
      'signature_algorithm',
    ],
    [
      'ecdsa-p256-sha256 named, RSA key',
      { ...BY_P256, ...tagged(';alg="ecdsa-p256-sha256"') },
      rsa.jwk,
      'signature_algorithm',
    ],
    [
      'rsa-v1_5-sha256 named, PS512 key',
      { key: rsa.privateKey, hash: 'sha256', ...tagged(';alg="rsa-v1_5-sha256"') },
      { ...rsa.jwk, alg: 'PS512' },
      'signature_algorithm',
    ],
    [
      'rsa-v1_5-sha256 named, RS512 key',
      { key: rsa.privateKey, hash: 'sha256', ...tagged(';alg="rsa-v1_5-sha256"') },
      { ...rsa.jwk, alg: 'RS512' },
      'signature_algorithm',
    ],
  ]
  it.each(cases)('%s', async (_what, change, jwk, reason) => {
    const { message, body } = signedRequest({ ...GOOD, ...change })
    expect(await tried(message, body, jwk)).toEqual([reason === 'ok' ? 'ok' : `401 ${reason}`, 1])
  })

  it.each(['Ed25519', 'P-256', 'RSA'] as KeyKind[])(
    'an HMAC keyed with the public %s key is no signature',
    async (kind) => {
      const { publicKey, jwk } = createPeerKey(kind, KEYID)
      for (const secret of [publicKey.export({ format: 'pem', type: 'spki' }), JSON.stringify(jwk)]) {
        const mac = createHmac('sha256', secret).update(good.base).digest('base64')
        expect(await tried(signatures(`ocm=:${mac}:`), good.body, jwk)).toEqual(['401 signature_invalid', 1])
      }
    },
  )

  it.each([
    ['the method', { ...good.message, method: 'PUT' }],
    ['the target', { ...good.message, targetUri: 'https://other.example/ocm/shares' }],
    ['the path', { ...good.message, targetUri: 'https://apps.example.org/ocm/revoke' }],
    ['the query', { ...good.message, targetUri: `${TARGET}?` }],
    ['created', inputs(goodInput.replace(`created=${START}`, `created=${START + 1}`))],
    ['the order of components', inputs(goodInput.replace('"@method" "@target-uri"', '"@target-uri" "@method"'))],
    ['one bit', signatures(goodSignature.replace(/=:(.)/, (_, first) => `=:${first === 'A' ? 'B' : 'A'}`))],
    ['its length', signatures('ocm=:AAAA:')],
    ['all of it', signatures('ocm=::')],
  ] as [string, SignedMessage][])('a signature that was made before %s changed is refused', async (_what, message) => {
    expect(await tried(message, good.body)).toEqual(['401 signature_invalid', 1])
  })

  it.each(['date', 'content-type'])('%s, when it is covered, must be what was signed', async (name) => {
    const date = 'Mon, 11 May 2026 14:11:47 GMT'
    const { message, body } = signedRequest({ ...GOOD, components: [...FOUR, name], headers: { date } })
    expect(await tried(message, body)).toEqual(['ok', 1])
    expect(await tried(withHeaders(message, { [name]: 'Mon, 11 May 2026 14:11:48 GMT' }), body)).toEqual([
      '401 signature_invalid',
      1,
    ])
  })

  it('a body of the same length under the digest of the signed one is refused', async () => {
    const other = Buffer.from('{"sender":"malis"}')
    expect(await tried(good.message, other)).toEqual(['401 digest_mismatch', 0])
    const redigested = withHeaders(good.message, { 'content-digest': sha256Digest(String(other)) })
    expect(await tried(redigested, other)).toEqual(['401 signature_invalid', 1])
  })

  it('what the key lookup throws is passed on', async () => {
    const findKey = async () => {
      throw unavailable('keys_unavailable', 'down')
    }
    expect(await tried(good.message, good.body, undefined, { findKey })).toEqual(['503 keys_unavailable', 0])
  })
})

describe('untagged signatures, tolerated', () => {
  const withDate: Signing = {
    ...GOOD,
    ...params(`;created=${START};keyid="${KEYID}"`),
    components: [...FOUR, 'date'],
    headers: { date: 'Mon, 11 May 2026 14:11:47 GMT' },
  }
  const tolerant = { tolerateUntagged: true }

  it.each([
    ['label ocm, date covered', {}, 'ok', 1],
    ['date not covered', { components: FOUR }, '401 signature_coverage', 0],
    ['another label', { label: 'sig1' }, '401 signature_missing', 0],
    ['another tag', params(`;created=${START};keyid="${KEYID}";tag="x"`), '401 signature_missing', 0],
    ['stale', params(`;created=${START - 301};keyid="${KEYID}"`), '401 signature_stale', 0],
  ] as [string, Partial<Signing>, string, number][])('%s', async (_what, change, outcome, lookups) => {
    const { message, body } = signedRequest({ ...withDate, ...change })
    expect(await tried(message, body, undefined, tolerant)).toEqual([outcome, lookups])
  })

  it('says so, and never when there is a tag', async () => {
    const { message, body } = signedRequest(withDate)
    expect(await verifier(undefined, tolerant).verify(message, body)).toMatchObject({ untagged: true })
    expect(await verifier(undefined, tolerant).verify(good.message, good.body)).toMatchObject({ untagged: false })
  })
})

describe('whatever a client sends', () => {
  const piece = fc.constantFrom(
    ...[
      'ocm',
      'sig1',
      '=',
      '(',
      ')',
      ';',
      ',',
      ' ',
      '"',
      ':',
      '"@method"',
      '"@target-uri"',
      '"content-digest"',
      '"@query-param"',
    ],
    ...[
      '"content-length"',
      ';name="a"',
      ';sf',
      ';tag="ocm"',
      `;created=${START}`,
      ';created=1.5',
      ';keyid="cloud.example.org#k"',
    ],
    ...[`;keyid="${KEYID}"`, ';alg="ed25519"', ':AAAA:', '?1', '%"x"', '@1', 'é', '\\', '\t', '*', '-', '9'],
  )
  const garbage = fc.oneof(
    fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join('')),
    fc.string({ unit: 'binary' }),
  )

  it('is verified or refused with 401, never anything else', async () => {
    const property = fc.asyncProperty(
      garbage,
      garbage,
      garbage,
      fc.boolean(),
      async (input, signature, digest, tolerateUntagged) => {
        const message = withHeaders(good.message, { 'signature-input': input, signature, 'content-digest': digest })
        const error = await verifier(undefined, { tolerateUntagged })
          .verify(message, good.body)
          .catch((thrown) => thrown)
        expect(error).toBeInstanceOf(GatewayError)
        expect(error.status).toBe(401)
      },
    )
    await fc.assert(property, { numRuns: 2000 })
  })

  it('is refused with 401 also where the fields have their form and anything stands in them', async () => {
    const component = fc.constantFrom(
      ...FOUR,
      '@path',
      '@query',
      '@authority',
      '@status',
      '@query-param',
      'date',
      'Date',
      '',
    )
    const parameter = fc.constantFrom('', ';sf', ';bs', ';req', ';key="a"', ';name="a"', ';name', ';a=1.0', ';a=:AA==:')
    const list = fc.array(
      fc.tuple(component, parameter).map(([name, more]) => `"${name}"${more}`),
      { maxLength: 8 },
    )
    const tail = fc.array(piece, { maxLength: 4 }).map((pieces) => pieces.join(''))
    const property = fc.asyncProperty(list, tail, fc.uint8Array({ maxLength: 80 }), async (components, more, bytes) => {
      const input = `ocm=(${FOUR.map((name) => `"${name}"`).join(' ')} ${components.join(' ')});created=${START};keyid="${KEYID}";tag="ocm"${more}`
      const signature = `ocm=:${Buffer.from(bytes).toString('base64')}:`
      const message = withHeaders(good.message, { 'signature-input': input, signature })
      for (const jwk of [ed25519.jwk, p256.jwk, rsa.jwk]) {
        const error = await verifier(jwk)
          .verify(message, good.body)
          .catch((thrown) => thrown)
        expect(error).toBeInstanceOf(GatewayError)
        expect(error.status).toBe(401)
      }
    })
    await fc.assert(property, { numRuns: 500 })
  })

  it('has a signature base, or is refused with a ComponentError', () => {
    const name = fc.oneof(
      fc.constantFrom(...FOUR, '@path', '@query', '@query-param', 'x-a', '__proto__', 'constructor'),
      fc.stringMatching(/^[ -~]{0,12}$/),
    )
    const value = fc.oneof(fc.boolean(), fc.integer({ min: -999, max: 999 }), fc.stringMatching(/^[ -~]{0,12}$/))
    const key = fc.constantFrom('name', 'sf', 'bs', 'key', 'req', 'tr')
    const item = fc.tuple(
      fc.oneof(name, value),
      fc.uniqueArray(fc.tuple(key, value), { selector: ([text]) => text, maxLength: 2 }),
    )
    const path = fc.stringMatching(/^\/[!-~]{0,20}$/)
    const headers = fc.array(fc.tuple(fc.constantFrom('X-A', 'x-a', 'Date', '__proto__'), fc.string()), {
      maxLength: 4,
    })
    const property = fc.property(fc.array(item, { maxLength: 6 }), path, headers, (items, below, fields) => {
      const components = items.map(
        ([component, parameters]) => [component, new Map(parameters)] as [string, Map<string, string>],
      )
      try {
        const base = signatureBase([components, new Map()], {
          method: 'GET',
          targetUri: `https://a.example${below}`,
          headers: fields,
        })
        expect(base.split('\n').at(-1)).toMatch(/^"@signature-params": \(/)
      } catch (error) {
        expect(error).toBeInstanceOf(ComponentError)
      }
    })
    fc.assert(property, { numRuns: 2000 })
  })
})
