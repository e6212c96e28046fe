import { createHmac, generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BOB, launch, type RawResponse, type Scene, send, startScene } from '../flow/harness.ts'
import { headerOf, type Signing, sha256Digest, signedRequest, withHeaders } from '../unit/signed-request.ts'

const FOUR = ['@method', '@target-uri', 'content-digest', 'content-length']
const P1363 = { dsaEncoding: 'ieee-p1363' } as const
const now = () => Math.floor(Date.now() / 1000)
const keyid = () => scene.alice.keys.current.keyid

let scene: Scene
let other: Scene

beforeAll(async () => {
  scene = await startScene()
  other = await startScene({ ocmServers: [{ domain: scene.alice.domain }] })
})
afterAll(() => Promise.all([scene.close(), other.close()]))

interface Push extends Partial<Signing> {
  readonly operation?: 'shares' | 'revoke'
  /** Parameters after `created` and `keyid`, which are good unless given. */
  readonly created?: number
  readonly claimedKeyid?: string
  readonly rest?: string
  /** Fields as sent instead of as signed. */
  readonly sent?: Readonly<Record<string, string | undefined>>
  readonly appended?: readonly (readonly [string, string])[]
  readonly sentBody?: string
}

/** A share that nobody has heard of yet, and the body that would announce it. */
async function newShare() {
  const share = await scene.share({ mode: 'self-contained' })
  return { share, body: JSON.stringify(scene.alice.notification(share)) }
}

/** A push by Alice’s cloud, good but for what is changed. */
function message(push: Push & { body: string }) {
  const {
    operation = 'shares',
    created = now(),
    claimedKeyid = keyid(),
    rest = ';tag="ocm"',
    sent = {},
    appended,
  } = push
  const signed = signedRequest({
    keyid: claimedKeyid,
    key: scene.alice.keys.current.key,
    hash: 'sha256',
    options: P1363,
    targetUri: `${scene.gateway.origin}/ocm/${operation}`,
    parameters: `;created=${created};keyid="${claimedKeyid}"${rest}`,
    ...push,
  })
  return {
    target: `/ocm/${operation}`,
    body: push.sentBody ?? push.body,
    message: withHeaders(signed.message, sent, appended),
  }
}

async function deliver(
  { target, body, message: { headers } }: ReturnType<typeof message>,
  to = scene,
): Promise<RawResponse> {
  const names = [...new Set(headers.map(([name]) => name))]
  const lists = names.map((name) => [name, headers.filter(([each]) => each === name).map(([, value]) => value)])
  return send(to.gateway, target, {
    method: 'POST',
    headers: { 'Content-Length': undefined, ...Object.fromEntries(lists) },
    body,
  })
}

async function pushed(push: Push): Promise<{ answer: string; stored: boolean }> {
  const { share, body } = await newShare()
  const response = await deliver(message({ body, ...push }))
  const token = await scene.token({ share, claims: { ocm_ip: undefined } })
  const { status } = await launch(scene.gateway, token)
  return {
    answer: response.status === 201 ? '201' : `${response.status} ${response.json().reason}`,
    stored: status === 303,
  }
}

const refused = (reason: string) => ({ answer: `401 ${reason}`, stored: false })

describe('two OCM signatures, duplicate labels, a foreign keyid', () => {
  const ownHits = () => scene.alice.hits.discovery + scene.alice.hits.jwks
  const deliverChanged = async (change: (good: ReturnType<typeof message>) => ReturnType<typeof message>) => {
    const { body } = await newShare()
    const response = await deliver(change(message({ body })))
    return `${response.status} ${response.json().reason}`
  }
  const replaced = (fields: (input: string, signature: string) => Record<string, string>) =>
    deliverChanged(({ message: good, ...rest }) => {
      const [input, signature] = [headerOf(good, 'signature-input'), headerOf(good, 'signature')]
      return { ...rest, message: withHeaders(good, fields(input, signature)) }
    })

  it('are refused before any key is fetched', async () => {
    const double = await replaced((input, signature) => ({
      'signature-input': `${input}, second${input.slice(3)}`,
      signature: `${signature}, second${signature.slice(3)}`,
    }))
    expect(double).toBe('401 signature_ambiguous')
    const labels = await replaced((input, signature) => ({
      'signature-input': `${input}, ${input}`,
      signature: `${signature}, ${signature}`,
    }))
    expect(labels).toBe('401 signature_ambiguous')
    const untaggedFirst = await replaced((input, signature) => ({
      'signature-input': `${input.replace(';tag="ocm"', '')}, ${input}`,
      signature,
    }))
    expect(untaggedFirst).toBe('401 signature_ambiguous')
    expect(ownHits()).toBe(0)
  })

  it('a label twice over two header lines', async () => {
    const { body } = await newShare()
    const good = message({ body })
    const doubled = {
      ...good,
      message: withHeaders(good.message, {}, [['signature-input', headerOf(good.message, 'signature-input')]]),
    }
    expect((await deliver(doubled)).status).toBe(401)
    expect(ownHits()).toBe(0)
  })

  it.each([
    'https://evil.example/ocm#key',
    'https://%s@evil.example/ocm#key',
    'https://evil@%s/ocm#key',
    'https://%s.evil.example/ocm#key',
    'evil-%s#key',
    '%s.evil.example#key',
    'alice.localhost#key',
    '%s',
    'https://%s/ocm',
    '#key',
    '//%s#key',
    'ftp://%s/#key',
    'https://%s\\@evil.example#key',
  ])('keyid %s: not the sender’s, and no key is fetched', async (pattern) => {
    const claimedKeyid = pattern.replace('%s', scene.alice.domain)
    const quoted = claimedKeyid.replaceAll('\\', '\\\\')
    const { body } = await newShare()
    const response = await deliver(message({ body, claimedKeyid: quoted }))
    expect(`${response.status} ${response.json().reason}`).toBe('401 signature_keyid')
    expect(ownHits()).toBe(0)
  })
})

describe('signature over fewer components', () => {
  it('all four: taken, in any order, under any label, with others beside it', async () => {
    const components = [...FOUR].reverse()
    expect(await pushed({})).toEqual({ answer: '201', stored: true })
    expect(await pushed({ components, label: 'sig1' })).toEqual({ answer: '201', stored: true })
    const appended = [
      ['signature-input', 'proxy=("@method");created=1'],
      ['signature', 'proxy=:AAAA:'],
    ] as const
    expect(await pushed({ appended })).toEqual({ answer: '201', stored: true })
  })

  it.each(FOUR)('without %s', async (missing) => {
    expect(await pushed({ components: FOUR.filter((name) => name !== missing) })).toEqual(refused('signature_coverage'))
  })

  it.each([
    { components: [...FOUR, '@method'], reason: 'signature_component' },
    { components: [...FOUR, 'x-missing'], reason: 'signature_component' },
    { components: [...FOUR, '@unknown'], reason: 'signature_component' },
    { components: [...FOUR, '@status'], reason: 'signature_component' },
    { components: [...FOUR, 'Content-Type'], reason: 'signature_component' },
    { components: ['@method";req "', '@target-uri', 'content-digest', 'content-length'], reason: 'signature_coverage' },
  ])('$components', async ({ components, reason }) => {
    const answer = await pushed({ components })
    expect(answer.stored).toBe(false)
    expect(answer.answer).toMatch(new RegExp(`401 (${reason}|signature_malformed)`))
  })
})

describe('over another target URI', () => {
  it.each([
    ['another host', (own: string) => own.replace('apps.', 'other-gateway.')],
    ['https', (own: string) => own.replace('http:', 'https:')],
    ['another operation', (own: string) => own.replace('/shares', '/revoke')],
    ['a query', (own: string) => `${own}?x=1`],
    ['upper case', (own: string) => own.replace('apps', 'APPS')],
    ['no port', (own: string) => own.replace(/:\d+/, '')],
  ])('%s', async (_what, change) => {
    const targetUri = change(`${scene.gateway.origin}/ocm/shares`)
    expect(await pushed({ targetUri })).toEqual(refused('signature_invalid'))
  })

  it('another method', async () => {
    expect(await pushed({ method: 'PUT' })).toEqual(refused('signature_invalid'))
  })
})

describe('stale, from the future', () => {
  it.each([
    { created: -301, rest: ';tag="ocm"', answer: '401 signature_stale' },
    { created: -290, rest: ';tag="ocm"', answer: '201' },
    { created: 90, rest: ';tag="ocm"', answer: '401 signature_future' },
    { created: 50, rest: ';tag="ocm"', answer: '201' },
    { created: -10, rest: ';expires=1000;tag="ocm"', answer: '401 signature_expired' },
  ])('created $created s, $rest: $answer', async ({ created, rest, answer }) => {
    expect(await pushed({ created: now() + created, rest })).toEqual({ answer, stored: answer === '201' })
  })

  it('without created, or without keyid', async () => {
    expect(await pushed({ parameters: `;keyid="${keyid()}";tag="ocm"` })).toEqual(refused('signature_created'))
    expect(await pushed({ parameters: `;created="${now()}";keyid="${keyid()}";tag="ocm"` })).toEqual(
      refused('signature_created'),
    )
    expect(await pushed({ parameters: `;created=${now()};tag="ocm"` })).toEqual(refused('signature_keyid'))
  })
})

describe('replayed after a revocation', () => {
  it('the provisioning that was captured does not bring the share back', async () => {
    const { share, body } = await newShare()
    const captured = message({ body })
    expect((await deliver(captured)).status).toBe(201)
    const token = await scene.token({ share, claims: { ocm_ip: undefined } })
    expect((await launch(scene.gateway, token)).status).toBe(303)
    await scene.alice.revoke({ sender: scene.alice.address, providerId: share.providerId })
    expect(await deliver(captured)).toMatchObject({ status: 401 })
    expect((await launch(scene.gateway, token)).status).toBe(410)
  })

  it('an older provisioning does not undo a newer one', async () => {
    const { share, body } = await newShare()
    const wide = message({ body, created: now() - 20 })
    const narrow = JSON.stringify(scene.alice.notification({ ...share, permissions: ['view'] }))
    expect((await deliver(message({ body: narrow, created: now() - 10 }))).status).toBe(201)
    expect((await deliver(wide)).status).toBe(401)
    const opened = await launch(scene.gateway, await scene.token({ share, claims: { ocm_ip: undefined } }))
    expect((await scene.visit('/notes/.ocm/session', opened)).json().permissions).toEqual(['view'])
  })

  it('a captured revocation does not end a share that was made again since', async () => {
    const { share, body } = await newShare()
    const revocation = JSON.stringify({ sender: scene.alice.address, providerId: share.providerId })
    const captured = message({ operation: 'revoke', body: revocation, created: now() - 20 })
    expect((await deliver(captured)).status).toBe(200)
    expect((await deliver(message({ body }))).status).toBe(201)
    expect((await deliver(captured)).status).toBe(401)
    expect((await launch(scene.gateway, await scene.token({ share, claims: { ocm_ip: undefined } }))).status).toBe(303)
  })
})

describe('digest mismatch', () => {
  it('a body that was changed on the way', async () => {
    const { share, body } = await newShare()
    const response = await deliver(message({ body, sentBody: body.replace(BOB, BOB.replace('bob', 'eve')) }))
    expect(response.json().reason).toBe('digest_mismatch')
    expect((await launch(scene.gateway, await scene.token({ share, claims: { ocm_ip: undefined } }))).status).toBe(404)
  })

  it.each([
    { what: 'of another body, signed', digest: () => sha256Digest('other'), reason: 'digest_mismatch' },
    {
      what: 'one that matches beside one that does not',
      digest: (body: string) => `${sha256Digest(body)}, sha-512=:AAAA:`,
      reason: 'digest_mismatch',
    },
    { what: 'of no known algorithm', digest: () => 'md5=:AAAA:', reason: 'digest_unsupported' },
    { what: 'not a dictionary', digest: () => 'sha-256=', reason: 'digest_malformed' },
  ])('a digest $what', async ({ digest, reason }) => {
    const { body } = await newShare()
    const response = await deliver(message({ body, headers: { 'content-digest': digest(body) } }))
    expect(`${response.status} ${response.json().reason}`).toMatch(
      new RegExp(`401 (${reason}|digest_mismatch|digest_malformed)`),
    )
  })

  it('a body without Content-Length, which the signature must cover: 400', async () => {
    const { body } = await newShare()
    const good = message({ body })
    const chunked = `${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n0\r\n\r\n`
    const headers = withHeaders(good.message, { 'content-length': undefined, 'transfer-encoding': 'chunked' })
    expect((await deliver({ ...good, message: headers, body: chunked })).status).toBe(400)
  })

  it('a Date that a proxy rewrote: accepted while the signature does not cover it, refused when it does', async () => {
    const sent = { date: new Date(0).toUTCString() }
    const date = { date: new Date().toUTCString() }
    expect(await pushed({ headers: date, sent })).toEqual({ answer: '201', stored: true })
    expect(await pushed({ headers: date, sent, components: [...FOUR, 'date'] })).toEqual(refused('signature_invalid'))
  })
})

describe('signatures that are none', () => {
  const foreign = generateKeyPairSync('ec', { namedCurve: 'P-256' })

  it.each([
    { what: 'DER-encoded ECDSA', push: { options: {} }, reason: 'signature_invalid' },
    { what: 'of another key under the sender’s keyid', push: { key: foreign.privateKey }, reason: 'signature_invalid' },
    { what: 'without a tag', push: { rest: '' }, reason: 'signature_untagged' },
    { what: 'with another tag', push: { rest: ';tag="OCM"' }, reason: 'signature_missing' },
    { what: 'with a tag that is a token', push: { rest: ';tag=ocm' }, reason: 'signature_missing' },
    {
      what: 'with an algorithm that does not fit',
      push: { rest: ';alg="rsa-v1_5-sha256";tag="ocm"' },
      reason: 'signature_algorithm',
    },
    {
      what: 'with a symmetric algorithm',
      push: { rest: ';alg="hmac-sha256";tag="ocm"' },
      reason: 'signature_algorithm',
    },
    { what: 'left out', push: { sent: { signature: undefined } }, reason: 'signature_missing' },
    { what: 'without its input', push: { sent: { 'signature-input': undefined } }, reason: 'signature_missing' },
    { what: 'empty', push: { sent: { signature: 'ocm=::' } }, reason: 'signature_invalid' },
    { what: 'under another label', push: { sent: { signature: 'other=:AAAA:' } }, reason: 'signature_malformed' },
    {
      what: 'of the Cavage draft',
      push: { sent: { signature: 'keyId="x",algorithm="rsa-sha256",signature="AAAA"' } },
      reason: 'signature_missing',
    },
    { what: 'that cannot be parsed', push: { sent: { 'signature-input': 'ocm=(((' } }, reason: 'signature_malformed' },
  ])('$what: 401', async ({ push, reason }) => {
    expect(await pushed(push as Push)).toEqual(refused(reason))
  })

  it('an HMAC under the public key', async () => {
    const { share, body } = await newShare()
    const { message: good, ...rest } = message({ body, rest: ';alg="hmac-sha256";tag="ocm"' })
    const secret = JSON.stringify(scene.alice.keys.current.publicJwk)
    const mac = createHmac('sha256', secret).update(headerOf(good, 'signature-input')).digest('base64')
    const response = await deliver({ ...rest, message: withHeaders(good, { signature: `ocm=:${mac}:` }) })
    expect(response.status).toBe(401)
    expect((await launch(scene.gateway, await scene.token({ share, claims: { ocm_ip: undefined } }))).status).toBe(404)
  })
})

describe('nonce or record stored before the signature was verified', () => {
  it('a forged request, however new, does not keep the true one from being applied', async () => {
    const { share, body } = await newShare()
    const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    expect((await deliver(message({ body, key, created: now() + 50 }))).status).toBe(401)
    const revocation = JSON.stringify({ sender: scene.alice.address, providerId: share.providerId })
    expect((await deliver(message({ operation: 'revoke', body: revocation, key, created: now() + 50 }))).status).toBe(
      401,
    )
    expect((await deliver(message({ body, created: now() - 5 }))).status).toBe(201)
  })
})

describe('captured provisioning replayed at another gateway', () => {
  it('`@target-uri` is built from the configured public URL, not from what the request says', async () => {
    const { body } = await newShare()
    const captured = message({ body })
    expect((await deliver(captured)).status).toBe(201)
    const refusedThere = await deliver(captured, other)
    expect(refusedThere.status).toBe(401)
    const asIfHere = { ...captured, message: withHeaders(captured.message, { Host: scene.gateway.host }) }
    expect((await deliver(asIfHere, other)).status).toBe(421)
    const forwarded = { 'X-Forwarded-Host': scene.gateway.host, Forwarded: `host="${scene.gateway.host}"` }
    expect((await deliver({ ...captured, message: withHeaders(captured.message, forwarded) }, other)).status).toBe(401)
  })
})
