import { createHash, createPublicKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import { createSigner, createVerifier, httpbis } from 'http-message-signatures'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createOutbound } from '../../src/core/outbound.ts'
import { close, listen } from '../../src/demo/listen.ts'
import { type GatewayProcess, startGatewayProcess } from '../flow/gateway-process.ts'
import { outcomeOf, provisioning } from '../unit/fixtures.ts'
import { type Received, startOurSide } from './our-side.ts'
import { npmPackage, usePeer } from './peers.ts'

const LIMITS = { timeoutSeconds: 10, maxBytes: 64 * 1024, operatorNamed: true }
const COMPONENTS = ['@method', '@target-uri', 'content-digest', 'content-length']

/** Keys for the public-key algorithms of RFC 9421 §3.3, and the `alg` of their JWKs. */
const KEYS = {
  ed25519: { ...generateKeyPairSync('ed25519'), alg: 'Ed25519' },
  'ecdsa-p256-sha256': { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }), alg: 'ES256' },
  'ecdsa-p384-sha384': { ...generateKeyPairSync('ec', { namedCurve: 'P-384' }), alg: 'ES384' },
  'rsa-v1_5-sha256': { ...generateKeyPairSync('rsa', { modulusLength: 2048 }), alg: 'RS256' },
  'rsa-pss-sha512': { ...generateKeyPairSync('rsa', { modulusLength: 2048 }), alg: 'PS512' },
}
type Algorithm = keyof typeof KEYS
const ALGORITHMS = Object.keys(KEYS) as Algorithm[]

interface Signing {
  readonly algorithm?: Algorithm
  readonly label?: string
  /** Changes the body after signing. */
  readonly appended?: string
}

/** A Sending Server that has the library sign, and publishes its keys at a `jwksUri`. */
async function startSender() {
  const { server, port } = await listen((req, res) => {
    const document = req.url === '/keys' ? { keys: ALGORITHMS.map(jwkOf) } : { jwksUri: `http://${authority}/keys` }
    res.setHeader('content-type', 'application/json').end(JSON.stringify(document))
  }, 0)
  const authority = `localhost:${port}`
  const outbound = createOutbound({ insecureLoopback: true })
  const keyidOf = (algorithm: Algorithm) => `${authority}#${algorithm}`
  const jwkOf = (algorithm: Algorithm) => {
    const { publicKey, alg } = KEYS[algorithm]
    return { ...publicKey.export({ format: 'jwk' }), kid: keyidOf(algorithm), alg, use: 'sig' }
  }

  return {
    authority,
    async post(url: string, content: unknown, { algorithm = 'ed25519', label = 'ocm', appended = '' }: Signing = {}) {
      const body = JSON.stringify(content)
      const signing = {
        key: createSigner(KEYS[algorithm].privateKey, algorithm, keyidOf(algorithm)),
        name: label,
        fields: COMPONENTS,
        params: ['created', 'keyid', 'alg', 'tag'],
        paramValues: { tag: 'ocm' },
      }
      const signed = await httpbis.signMessage(signing, { method: 'POST', url, headers: headersOf(body) })
      const { 'content-length': _, ...headers } = signed.headers as Record<string, string>
      const answer = await outbound.request(url, { method: 'POST', headers, body: body + appended }, LIMITS)
      return { status: answer.status, body: JSON.parse(answer.body.toString()) }
    },
    stop: async () => void (await Promise.all([close(server), outbound.close()])),
  }
}

function headersOf(body: string): Record<string, string> {
  const length = String(Buffer.byteLength(body))
  return { 'content-type': 'application/json', 'content-digest': digestOf(body), 'content-length': length }
}

function digestOf(body: string | Buffer): string {
  return `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
}

const us = await startOurSide()
afterAll(() => us.stop())

const sender = usePeer(npmPackage('http-message-signatures'), startSender)

describe('requests that http-message-signatures signs', () => {
  let gateway: GatewayProcess
  beforeAll(async () => {
    gateway = await startGatewayProcess(({ origin }) => ({
      ocmServers: [{ domain: sender().authority, modes: ['provisioned'] }],
      webapps: [
        { name: 'notes', kind: 'generic', publicUrl: `${origin}/notes/`, upstream: 'http://127.0.0.1:9/notes/' },
      ],
    }))
  })
  afterAll(() => gateway.stop())

  const push = (providerId: string, signing: Signing = {}) => {
    const alice = `alice@${sender().authority}`
    const share = provisioning({ providerId, sender: alice, owner: alice })
    return sender().post(`${gateway.origin}/ocm/shares`, share, signing)
  }

  it.each(ALGORITHMS.filter((algorithm) => algorithm !== 'rsa-pss-sha512'))('are accepted: %s', async (algorithm) => {
    expect(await push(algorithm, { algorithm })).toEqual({ status: 201, body: { status: 'stored' } })
  })

  it('are refused: rsa-pss-sha512, which it signs with a longer salt than the 64 octets of RFC 9421 §3.3.1', async () => {
    const refusal = { status: 401, body: { reason: 'signature_invalid' } }
    expect(await push('salted', { algorithm: 'rsa-pss-sha512' })).toMatchObject(refusal)
  })

  it('are accepted under any label, since the tag decides', async () => {
    expect(await push('labelled', { label: 'sig1' })).toMatchObject({ status: 201 })
  })

  it('are refused when the body is another one than was signed', async () => {
    expect(await push('changed', { appended: ' ' })).toMatchObject({ status: 401 })
  })
})

describe('requests that we sign', () => {
  /** Whether the library verifies a request with the key that we publish under the `keyid`. */
  async function verifies({ message, body }: Received): Promise<boolean> {
    const { keys } = (await fetch(us.jwksUrl).then((res) => res.json())) as { keys: (JsonWebKey & { kid: string })[] }
    const headers = Object.fromEntries(message.headers)
    const keyLookup = async ({ keyid }: { keyid?: string }) => {
      const jwk = keys.find(({ kid }) => kid === keyid)
      if (jwk === undefined) return null
      return { verify: createVerifier(createPublicKey({ key: jwk, format: 'jwk' }), 'ed25519') }
    }
    const rules = { keyLookup, requiredFields: COMPONENTS, requiredParams: ['created', 'keyid', 'tag'], maxAge: 300 }
    const verified = await httpbis.verifyMessage(rules, { method: message.method, url: message.targetUri, headers })
    return verified === true && headers['content-digest'] === digestOf(body)
  }

  it('verify with http-message-signatures, and no longer when they were changed', async () => {
    await us.post(`${us.url}/ocm/shares?from=us`, '{"sender":"alice"}')
    const request = us.received.at(-1) as Received
    const elsewhere = { ...request.message, targetUri: `${us.url}/ocm/revoke` }
    expect(await verifies(request)).toBe(true)
    expect(await verifies({ ...request, message: elsewhere })).toBe(false)
    expect(await verifies({ ...request, body: Buffer.from('{}') })).toBe(false)
  })

  it('may be questions to an introspection endpoint (auth: http-signature)', async () => {
    const answer = { active: true, iss: 'https://cloud.example.org', sub: 'alice', aud: 'bob@bob.example', exp: 4e9 }
    us.answerWith(async (request) =>
      (await verifies(request)) ? { status: 200, body: answer } : { status: 401, body: {} },
    )
    const ask = us.asker('cloud.example.org', {
      introspection: { url: `${us.url}/introspect`, auth: 'http-signature' },
    })
    expect(await outcomeOf(() => ask('opaque'))).toBe('ok')
  })
})
