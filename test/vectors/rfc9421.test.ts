import { createPublicKey, verify } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type InnerList, parseDictionary } from 'structured-headers'
import { describe, expect, it } from 'vitest'
import { contentDigest, verifyContentDigest } from '../../src/trust/content-digest.ts'
import { signRequest, verifyBytes } from '../../src/trust/http-signature.ts'
import { importVerificationKey, type VerificationKey } from '../../src/trust/jwk.ts'
import { type SignedMessage, signatureBase } from '../../src/trust/signature-base.ts'
import { generateSigningKey, loadSigningKey } from '../../src/trust/signing-key.ts'
import { outcomeOf } from '../unit/fixtures.ts'

/** Joins what RFC 8792 folds. */
const folded = (...lines: string[]) => lines.join('')

// RFC 9421, appendix B.1: the public halves.
const RSA_PSS = folded(
  'MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2',
  '+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+',
  'oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq',
  'gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W',
  'Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4',
  'aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI',
  '2wIDAQAB',
)
const ECC_P256 = folded(
  'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf',
  'w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==',
)
const ED25519_JWK = { kty: 'OKP', crv: 'Ed25519', x: 'JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs' }
const SHARED_SECRET = 'uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=='

function imported(jwk: unknown): VerificationKey {
  const key = importVerificationKey(jwk)
  if (typeof key === 'string') throw new Error(key)
  return key
}

function published(spki: string, members: Record<string, unknown>): VerificationKey {
  const key = createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' })
  return imported({ ...key.export({ format: 'jwk' }), ...members })
}

const keys = {
  'test-key-rsa-pss': published(RSA_PSS, { kid: 'test-key-rsa-pss', alg: 'PS512' }),
  'test-key-ecc-p256': published(ECC_P256, { kid: 'test-key-ecc-p256' }),
  'test-key-ed25519': imported({ ...ED25519_JWK, kid: 'test-key-ed25519' }),
}

const DIGEST_512 = 'sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:'
const BODY = Buffer.from('{"hello": "world"}')

/** The message `test-request` of appendix B.2. */
const REQUEST: SignedMessage = {
  method: 'POST',
  targetUri: 'https://example.com/foo?param=Value&Pet=dog',
  headers: [
    ['Host', 'example.com'],
    ['Date', 'Tue, 20 Apr 2021 02:07:55 GMT'],
    ['Content-Type', 'application/json'],
    ['Content-Digest', DIGEST_512],
    ['Content-Length', '18'],
  ],
}

const CLIENT_CERT = folded(
  ':MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVk',
  'aWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8Y',
  'nXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNV',
  'HSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYm',
  'RjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5Xa',
  'rmPk0wmuydBVoU4hBVZ1yhk=:',
)

/** One member of `Signature-Input`, as it stands in the field. */
function inputOf(member: string): InnerList {
  return parseDictionary(`sig=${member}`).get('sig') as InnerList
}

interface Vector {
  readonly section: string
  readonly key: keyof typeof keys
  readonly alg: string
  readonly message: SignedMessage
  readonly input: string
  readonly base: readonly string[]
  readonly signature: string
}

const VECTORS: readonly Vector[] = [
  {
    section: 'B.2.1, minimal signature, rsa-pss-sha512',
    key: 'test-key-rsa-pss',
    alg: 'rsa-pss-sha512',
    message: REQUEST,
    input: '();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"',
    base: [],
    signature: folded(
      'd2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7C',
      'hG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsf',
      'xVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C',
      '8ssinQ98Xw9Q==',
    ),
  },
  {
    section: 'B.2.2, selective coverage, rsa-pss-sha512',
    key: 'test-key-rsa-pss',
    alg: 'rsa-pss-sha512',
    message: REQUEST,
    input: folded(
      '("@authority" "content-digest" "@query-param";name="Pet");created=1618884473',
      ';keyid="test-key-rsa-pss";tag="header-example"',
    ),
    base: ['"@authority": example.com', `"content-digest": ${DIGEST_512}`, '"@query-param";name="Pet": dog'],
    signature: folded(
      'LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxC',
      'mT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2',
      'fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaV',
      'e4bXTugEjHSw==',
    ),
  },
  {
    section: 'B.2.3, full coverage, rsa-pss-sha512',
    key: 'test-key-rsa-pss',
    alg: 'rsa-pss-sha512',
    message: REQUEST,
    input: folded(
      '("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length")',
      ';created=1618884473;keyid="test-key-rsa-pss"',
    ),
    base: [
      '"date": Tue, 20 Apr 2021 02:07:55 GMT',
      '"@method": POST',
      '"@path": /foo',
      '"@query": ?param=Value&Pet=dog',
      '"@authority": example.com',
      '"content-type": application/json',
      `"content-digest": ${DIGEST_512}`,
      '"content-length": 18',
    ],
    signature: folded(
      'bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0',
      'fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xM',
      'y7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIz',
      'tsDZKEgM4cUA==',
    ),
  },
  {
    section: 'B.2.6, ed25519',
    key: 'test-key-ed25519',
    alg: 'ed25519',
    message: REQUEST,
    input: folded(
      '("date" "@method" "@path" "@authority" "content-type" "content-length")',
      ';created=1618884473;keyid="test-key-ed25519"',
    ),
    base: [
      '"date": Tue, 20 Apr 2021 02:07:55 GMT',
      '"@method": POST',
      '"@path": /foo',
      '"@authority": example.com',
      '"content-type": application/json',
      '"content-length": 18',
    ],
    signature: 'wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==',
  },
  {
    section: 'B.3, TLS-terminating proxy, ecdsa-p256-sha256',
    key: 'test-key-ecc-p256',
    alg: 'ecdsa-p256-sha256',
    message: {
      ...REQUEST,
      targetUri: 'https://service.internal.example/foo?param=Value&Pet=dog',
      headers: [['Client-Cert', CLIENT_CERT]],
    },
    input: '("@path" "@query" "@method" "@authority" "client-cert");created=1618884473;keyid="test-key-ecc-p256"',
    base: [
      '"@path": /foo',
      '"@query": ?param=Value&Pet=dog',
      '"@method": POST',
      '"@authority": service.internal.example',
      `"client-cert": ${CLIENT_CERT}`,
    ],
    signature: 'xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==',
  },
]

describe('RFC 9421, appendix B', () => {
  it.each(VECTORS)('$section: the signature base, and the published signature verifies', (vector) => {
    const { key, alg, message, input, base, signature } = vector
    const made = signatureBase(inputOf(input), message)
    const bytes = Buffer.from(signature, 'base64')
    expect(made).toBe([...base, `"@signature-params": ${input}`].join('\n'))
    expect(verifyBytes(keys[key], undefined, made, bytes)).toBe(true)
    expect(verifyBytes(keys[key], alg, made, bytes)).toBe(true)
    expect(verifyBytes(keys[key], alg, `${made} `, bytes)).toBe(false)
  })

  it('B.2.4, a response: refused, because @status is no component of a request', () => {
    const input = inputOf('("@status" "content-type");created=1618884473;keyid="test-key-ecc-p256"')
    expect(() => signatureBase(input, REQUEST)).toThrow('"@status" is not a component of a request')
  })

  it('B.2.5, hmac-sha256: refused, because no key that anybody may publish fits it', async () => {
    const secret = Buffer.from(SHARED_SECRET, 'base64').toString('base64url')
    expect(importVerificationKey({ kty: 'oct', k: secret, kid: 'test-shared-secret' })).toMatch(/oct is not supported/)
    const input = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    const base = signatureBase(inputOf(input), REQUEST)
    const signature = Buffer.from('pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=', 'base64')
    for (const key of Object.values(keys)) {
      expect(await outcomeOf(() => verifyBytes(key, 'hmac-sha256', base, signature))).toBe('401 signature_algorithm')
      expect(verifyBytes(key, undefined, base, signature)).toBe(false)
    }
  })
})

describe('RFC 9421, appendix B.4: what a message may go through', () => {
  const input = '("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519"'
  const signature = 'ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA=='
  const date: [string, string] = ['Date', 'Fri, 15 Jul 2022 14:24:55 GMT']
  const accept: [string, string][] = [
    ['Accept', 'application/json'],
    ['Accept', '*/*'],
  ]
  const original = {
    method: 'GET',
    targetUri: 'https://example.org/demo?name1=Value1&Name2=value2',
    headers: [['Host', 'example.org'], date, ...accept] as [string, string][],
  }

  it.each([
    ['nothing', true, {}],
    [
      'a query parameter and a field were added',
      true,
      { targetUri: `${original.targetUri}&param=added`, headers: [...accept, ['Accept-Language', 'en-US,en;q=0.5']] },
    ],
    ['the values of a field were joined', true, { headers: [['Accept', 'application/json, */*']] }],
    ['fields changed places', true, { headers: [...accept, date, ['Host', 'example.org']] }],
    [
      'the method and the authority were changed',
      false,
      { method: 'POST', targetUri: 'https://example.com/demo?name1=Value1&Name2=value2' },
    ],
    ['the values of a field changed places', false, { headers: accept.toReversed() }],
  ] as [string, boolean, Partial<SignedMessage>][])('%s: verifies %s', (_change, verifies, change) => {
    const base = signatureBase(inputOf(input), { ...original, ...change })
    expect(verifyBytes(keys['test-key-ed25519'], 'ed25519', base, Buffer.from(signature, 'base64'))).toBe(verifies)
  })
})

describe('RFC 9421, section 2: component values', () => {
  const lineOf = (component: string, message: Partial<SignedMessage>) =>
    signatureBase(inputOf(`(${component})`), {
      method: 'POST',
      targetUri: 'https://www.example.com/',
      headers: [],
      ...message,
    })
      .split('\n')
      .slice(0, -1)
      .join('\n')

  const target = 'https://www.example.com/path?param=value'
  it.each([
    ['"@method"', target, '"@method": POST'],
    ['"@target-uri"', target, `"@target-uri": ${target}`],
    ['"@authority"', 'https://WWW.example.com:443/path', '"@authority": www.example.com'],
    ['"@authority"', 'https://www.example.com:8443/path', '"@authority": www.example.com:8443'],
    ['"@scheme"', 'HTTP://www.example.com/path', '"@scheme": http'],
    ['"@request-target"', target, '"@request-target": /path?param=value'],
    ['"@request-target"', 'https://www.example.com', '"@request-target": /'],
    ['"@path"', target, '"@path": /path'],
    ['"@path"', 'https://www.example.com?x', '"@path": /'],
    ['"@path"', 'https://www.example.com/a%20b/%7Ec', '"@path": /a%20b/%7Ec'],
    [
      '"@query"',
      'https://www.example.com/path?param=value&foo=bar&baz=bat%2Dman',
      '"@query": ?param=value&foo=bar&baz=bat%2Dman',
    ],
    ['"@query"', 'https://www.example.com/path?queryString', '"@query": ?queryString'],
    ['"@query"', 'https://www.example.com/path?', '"@query": ?'],
    ['"@query"', 'https://www.example.com/path', '"@query": ?'],
  ])('%s of %s', (component, targetUri, line) => {
    expect(lineOf(component, { targetUri })).toBe(line)
  })

  const many = 'https://www.example.com/path?param=value&foo=bar&baz=batman&qux='
  const odd =
    'https://www.example.com/parameters?var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something'
  it.each([
    ['baz', many, 'batman'],
    ['qux', many, ''],
    ['param', many, 'value'],
    ['var', odd, 'this%20is%20a%20big%0Amultiline%20value'],
    ['bar', odd, 'with%20plus%20whitespace'],
    ['fa%C3%A7ade%22%3A%20', odd, 'something'],
    ['x', `https://www.example.com/?x=a!b'c(d)e~f*g-h._i`, 'a%21b%27c%28d%29e%7Ef*g-h._i'],
  ])('2.2.8: "@query-param";name="%s"', (name, targetUri, value) => {
    expect(lineOf(`"@query-param";name="${name}"`, { targetUri })).toBe(`"@query-param";name="${name}": ${value}`)
  })

  it('2.1: fields are trimmed, unfolded and joined', () => {
    const headers: [string, string][] = [
      ['Host', 'www.example.com'],
      ['Date', 'Tue, 20 Apr 2021 02:07:56 GMT'],
      ['X-OWS-Header', '  Leading and trailing whitespace.  '],
      ['X-Obs-Fold-Header', 'Obsolete\r\n    line folding.'],
      ['Cache-Control', 'max-age=60'],
      ['Cache-Control', '   must-revalidate'],
      ['Example-Dict', ' a=1,    b=2;x=1;y=2,   c=(a   b   c)'],
      ['X-Empty-Header', ''],
    ]
    const components = [
      ...['"host"', '"date"', '"x-ows-header"', '"x-obs-fold-header"', '"cache-control"', '"example-dict"'],
      '"x-empty-header"',
    ]
    expect(lineOf(components.join(' '), { headers })).toBe(
      [
        '"host": www.example.com',
        '"date": Tue, 20 Apr 2021 02:07:56 GMT',
        '"x-ows-header": Leading and trailing whitespace.',
        '"x-obs-fold-header": Obsolete line folding.',
        '"cache-control": max-age=60, must-revalidate',
        '"example-dict": a=1,    b=2;x=1;y=2,   c=(a   b   c)',
        '"x-empty-header": ',
      ].join('\n'),
    )
  })
})

describe('RFC 9530, appendix B: Content-Digest', () => {
  const content = Buffer.from('{"hello": "world"}\n')
  const sha256 = 'sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:'
  const sha512 = 'sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:'

  it.each([
    ['sha-256', sha256, content, 'ok'],
    ['sha-512', sha512, content, 'ok'],
    ['both', `${sha256}, ${sha512}`, content, 'ok'],
    ['one beside an unknown algorithm', `md5=:AAAA:, ${sha256}`, content, 'ok'],
    ['of RFC 9421', DIGEST_512, BODY, 'ok'],
    ['sha-256 of another body', sha256, BODY, '401 digest_mismatch'],
    ['one that matches beside one that does not', `${sha256}, ${DIGEST_512}`, content, '401 digest_mismatch'],
    ['only an unknown algorithm', 'md5=:AAAA:', content, '401 digest_unsupported'],
    ['only an inherited name', 'constructor=:AAAA:', content, '401 digest_unsupported'],
    ['nothing', '', content, '401 digest_unsupported'],
    [
      'text in place of bytes',
      'sha-256="RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="',
      content,
      '401 digest_mismatch',
    ],
    [
      'the older Digest syntax',
      'SHA-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=',
      content,
      '401 digest_malformed',
    ],
  ])('%s', async (_what, field, body, outcome) => {
    expect(await outcomeOf(() => verifyContentDigest(field, body))).toBe(outcome)
  })

  it('makes the published sha-256 field', () => {
    expect(contentDigest(content)).toBe(sha256)
    expect(contentDigest(BODY)).toBe('sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:')
  })
})

describe('RFC 8037 and RFC 7515: keys, thumbprint, signatures', () => {
  const A1 = {
    kty: 'OKP',
    crv: 'Ed25519',
    d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A',
    x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
  }
  const signingKeyFile = (text: string) => {
    const file = join(mkdtempSync(join(tmpdir(), 'vectors-')), 'key.json')
    writeFileSync(file, text)
    return file
  }

  it('RFC 8037 A.2, A.3: only the public half is published, its kid ends in the RFC 7638 thumbprint', async () => {
    const { jwks, keyid } = await loadSigningKey(signingKeyFile(JSON.stringify(A1)), 'apps.example.org:8443')
    expect(keyid).toBe('apps.example.org:8443#kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k')
    const { d: _, ...publicHalf } = A1
    expect(jwks).toEqual({ keys: [{ ...publicHalf, kid: keyid, alg: 'EdDSA', use: 'sig' }] })
  })

  it('RFC 8037 A.4, A.5: the published EdDSA signature verifies under its key', () => {
    const { d: _, ...publicHalf } = A1
    const signature = 'hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg'
    const signed = 'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc'
    const key = imported({ ...publicHalf, kid: 'a2' })
    expect(verifyBytes(key, 'ed25519', signed, Buffer.from(signature, 'base64url'))).toBe(true)
    expect(verifyBytes(key, 'ed25519', `${signed}A`, Buffer.from(signature, 'base64url'))).toBe(false)
  })

  it('RFC 7515 A.3: the published ES256 signature (raw r and s) verifies under its key', () => {
    const key = imported({
      kty: 'EC',
      crv: 'P-256',
      x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
      kid: 'a3',
      alg: 'ES256',
    })
    const signed =
      'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ'
    const signature = 'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q'
    expect(verifyBytes(key, undefined, signed, Buffer.from(signature, 'base64url'))).toBe(true)
  })

  it('what generateSigningKey makes is a key that loadSigningKey takes, and signs with', async () => {
    const file = signingKeyFile(generateSigningKey())
    const before = readFileSync(file, 'utf8')
    const signer = await loadSigningKey(file, 'apps.example.org')
    expect(signer.created).toBe(false)
    expect(readFileSync(file, 'utf8')).toBe(before)
    const url = 'https://peer.example/introspect'
    const headers = signRequest({ method: 'POST', url, body: BODY }, signer, 1618884473.9)
    const input = `("@method" "@target-uri" "content-digest" "content-length");created=1618884473;keyid="${signer.keyid}";tag="ocm"`
    expect(headers['signature-input']).toBe(`ocm=${input}`)
    const base = signatureBase(inputOf(input), { method: 'POST', targetUri: url, headers: Object.entries(headers) })
    const bytes = Buffer.from(headers.signature?.slice('ocm=:'.length, -1) ?? '', 'base64')
    const publicKey = createPublicKey({ key: signer.jwks.keys[0] as never, format: 'jwk' })
    expect(verify(null, Buffer.from(base), publicKey, bytes)).toBe(true)
  })
})
