import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type SendingServer, startSendingServer } from '../../src/demo/sending-server.ts'
import { BOB, form, type LaunchOptions, launch, pairWith, type Scene, send, startScene } from '../flow/harness.ts'
import { keepSecret } from '../flow/leaks.ts'
import { forge, mint } from '../unit/peer-tokens.ts'

const AS_JSON: LaunchOptions = { headers: { accept: 'application/json' } }

let scene: Scene
let carol: SendingServer
let mallory: SendingServer

beforeAll(async () => {
  carol = await startSendingServer({ host: 'carol.localhost' })
  mallory = await startSendingServer({ host: 'mallory.localhost' })
  scene = await startScene({ ocmServers: [{ domain: carol.domain, modes: ['provisioned', 'self-contained'] }] })
  pairWith(carol, scene.gateway)
})
afterAll(async () => {
  await scene.close()
  await Promise.all([carol.close(), mallory.close()])
})

/** Requests that the gateway has made to any of these servers. */
const outgoing = () => [scene.alice, carol, mallory].reduce((sum, { hits }) => sum + hits.discovery + hits.jwks, 0)

const refusal = async (token: string) => {
  const { status, response } = await launch(scene.gateway, token, AS_JSON)
  return status === 303 ? 'opened' : `${status} ${response.json().reason}`
}

describe('`iss` of an unpaired server; `iss` with userinfo, path, port tricks', () => {
  it.each([
    ['an unpaired server', () => mallory.issuer],
    ['userinfo', () => `https://good.example@${mallory.domain}`],
    ['a paired host as userinfo', () => `https://${scene.alice.domain}@evil.example`],
    ['userinfo before a paired host', () => `https://evil@${scene.alice.domain}`],
    ['a longer name', () => `https://${scene.alice.domain}.evil.example`],
    ['a name that begins so', () => `https://alice.localhost.evil.example:${scene.alice.domain.split(':')[1]}`],
    ['a longer name in front', () => `https://evil-${scene.alice.domain}`],
    ['a subdomain', () => `https://x.${scene.alice.domain}`],
    ['a path', () => `${scene.alice.issuer}/nextcloud`],
    ['a path that goes up', () => `${scene.alice.issuer}/..`],
    ['a query', () => `${scene.alice.issuer}?x`],
    ['a fragment', () => `${scene.alice.issuer}#x`],
    ['a backslash', () => `https://evil.example\\@${scene.alice.domain}`],
    ['no port', () => 'https://alice.localhost'],
    ['another port', () => 'https://alice.localhost:443'],
    ['a port too many', () => `${scene.alice.issuer}:443`],
    ['a blank', () => `https:// ${scene.alice.domain}`],
    ['a line break', () => `${scene.alice.issuer}\n.evil.example`],
    ['another scheme', () => scene.alice.issuer.replace('https', 'ftp')],
    ['no scheme', () => scene.alice.domain],
    ['a list', () => [scene.alice.issuer, mallory.issuer]],
    ['an object', () => ({ toString: scene.alice.issuer })],
    ['nothing', () => undefined],
    ['an empty text', () => ''],
    ['letters that look alike', () => scene.alice.issuer.replace('alice', 'аlice')],
    ['percent-encoding', () => scene.alice.issuer.replace('alice', '%61lice')],
  ] satisfies [string, () => unknown][])('%s: refused without any outgoing request', async (_what, iss) => {
    const before = outgoing()
    const share = await scene.share({ mode: 'self-contained' })
    const token = await scene.token({ share, claims: { iss: iss() as string } })
    expect(await refusal(token)).toMatch(/^401 issuer_(malformed|not_paired)$/)
    expect(outgoing()).toBe(before)
  })

  it('on the back channel, a sender that is not paired: refused before any key is fetched', async () => {
    pairWith(mallory, scene.gateway)
    const before = outgoing()
    const body = {
      ...mallory.notification(await mallory.share({ mode: 'self-contained', shareWith: BOB, notify: false })),
    }
    for (const sender of [
      mallory.address,
      `alice@${scene.alice.domain}@${mallory.domain}`,
      'x@alice.localhost.evil.example',
    ])
      expect((await mallory.provision({ ...body, sender })).status, sender).toBe(401)
    expect((await mallory.provision({ ...body, sender: mallory.domain })).status).toBe(400)
    expect(outgoing()).toBe(before)
  })
})

describe('`alg: none`, HS256 signed with the public key, `alg` that does not fit the key, embedded keys', () => {
  const claims = () => ({
    iss: scene.alice.issuer,
    sub: 'alice',
    aud: BOB,
    client_id: '1',
    exp: Math.floor(Date.now() / 1000) + 600,
  })
  const key = () => scene.alice.keys.current
  const header = (change: object) => ({ typ: 'at+jwt', alg: key().alg, kid: key().keyid, ...change })
  const publicPem = () => Buffer.from(JSON.stringify(key().publicJwk))
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const minted = (change: object, signWith = own.privateKey) =>
    mint({ key: signWith, kid: key().keyid, alg: 'ES256', header: change as Record<string, unknown>, claims: claims() })

  beforeAll(async () => {
    await scene.open()
  })

  it.each([
    { what: 'none', token: () => forge(header({ alg: 'none' }), claims()) },
    { what: 'NONE', token: () => forge(header({ alg: 'NONE' }), claims()) },
    { what: 'none without a third part', token: () => forge(header({ alg: 'none' }), claims()).replace(/\.$/, '') },
    { what: 'nothing', token: () => forge(header({ alg: undefined }), claims(), 'x'.repeat(64)) },
    { what: 'a list', token: () => forge(header({ alg: ['ES256'] }), claims(), 'x'.repeat(64)) },
  ])('alg $what', async ({ token }) => {
    expect(await refusal(token())).toMatch(/^401 (token_algorithm|credential_opaque)$/)
  })

  it('HS256, HS384, HS512 with the public key as the secret', async () => {
    for (const alg of ['HS256', 'HS384', 'HS512']) {
      const token = await mint({ key: publicPem(), kid: key().keyid, alg, claims: claims() })
      expect(await refusal(token), alg).toBe('401 token_algorithm')
    }
  })

  it.each(['EdDSA', 'ES384', 'ES512', 'RS256', 'PS256', 'ES256K'])(
    '%s, which does not fit the P-256 key',
    async (alg) => {
      const token = forge(header({ alg }), claims(), 'x'.repeat(64))
      expect(await refusal(token)).toBe('401 token_algorithm')
    },
  )

  it.each([
    { jwk: own.publicKey.export({ format: 'jwk' }) },
    { jku: 'https://evil.example/jwks.json' },
    { x5u: 'https://evil.example/cert.pem' },
    { x5c: ['MIIB'] },
    { crit: ['ocm'], ocm: true },
  ])('a header with its own key or demand: %o', async (change) => {
    const before = outgoing()
    expect(await refusal(await minted(change, key().key as never))).toBe('401 token_header')
    expect(await refusal(await minted(change))).toBe('401 token_header')
    expect(outgoing()).toBe(before)
  })

  it('a good header over a signature of another key, or a changed payload', async () => {
    expect(await refusal(await minted({}))).toBe('401 token_signature')
    const share = await scene.share({ mode: 'self-contained', permissions: ['view'] })
    const [head, payload = '', signature] = (await scene.token({ share })).split('.')
    const changed = Buffer.from(payload, 'base64url').toString().replace('"view"', '"write"')
    expect(changed).toContain('"write"')
    const forged = keepSecret([head, Buffer.from(changed).toString('base64url'), signature].join('.'))
    expect(await refusal(forged)).toBe('401 token_signature')
  })

  it.each([
    { typ: 'JWT' },
    { typ: undefined },
    { typ: 'dpop+jwt' },
    { typ: 'at+jwt+x' },
    { kid: undefined },
    { kid: '' },
    { kid: '../../etc/passwd' },
  ])('another type, or no key id: %o', async (change) => {
    const share = await scene.share({ mode: 'self-contained' })
    expect(await refusal(await scene.token({ share, header: change }))).toMatch(
      /^401 (token_type|token_kid|key_unknown)$/,
    )
  })
})

describe('claims that do not fit', () => {
  const soon = () => Math.floor(Date.now() / 1000)

  it.each([
    { claims: { exp: undefined } },
    { claims: { sub: undefined } },
    { claims: { aud: undefined } },
    { claims: { client_id: undefined } },
    { claims: { aud: [BOB, 'eve@evil.example'] } },
    { claims: { aud: 'bob' } },
    { claims: { client_id: 4.5 } },
    { claims: { client_id: true } },
    { claims: { sub: '' } },
  ])('%o: 401', async ({ claims }) => {
    const share = await scene.share({ mode: 'self-contained' })
    expect(await refusal(await scene.token({ share, claims: claims as never }))).toMatch(/^401 /)
  })

  it.each([
    { what: 'expired', times: () => ({ exp: soon() - 61 }), reason: '401 token_expired' },
    { what: 'expired within the skew', times: () => ({ exp: soon() - 30 }), reason: 'opened' },
    { what: 'for a week', times: () => ({ exp: soon() + 7 * 86_400 }), reason: '401 token_lifetime' },
    { what: 'not valid yet', times: () => ({ nbf: soon() + 120 }), reason: '401 token_not_yet_valid' },
    { what: 'issued in the future', times: () => ({ iat: soon() + 120 }), reason: '401 token_not_yet_valid' },
  ])('$what: $reason', async ({ times, reason }) => {
    const share = await scene.share()
    expect(await refusal(await scene.token({ share, claims: times() }))).toBe(reason)
  })

  it.each([
    { what: 'another owner', claims: { sub: 'mallory' } },
    { what: 'the owner’s full address at another host', claims: { sub: 'alice@evil.example' } },
    { what: 'another recipient', claims: { aud: 'eve@bob.localhost:8443' } },
    { what: 'the recipient in other case', claims: { aud: BOB.replace('bob@', 'Bob@') } },
    { what: 'the recipient at another host', claims: { aud: 'bob@bob.localhost' } },
  ])('$what: 403', async ({ claims }) => {
    expect(await refusal(await scene.token({ share: await scene.share(), claims }))).toMatch(
      /^403 (owner|recipient)_mismatch$/,
    )
  })

  it.each(['0', ' ', '%s0', ' %s', '%s ', '0%s', '%s.0'])('an id that is nearly the share’s: "%s"', async (pattern) => {
    const share = await scene.share()
    const claims = { client_id: pattern.replace('%s', share.providerId) }
    expect(await refusal(await scene.token({ share, claims }))).toBe('404 share_unknown')
  })
})

describe('token of Sending Server A for a record of Sending Server B with the same id', () => {
  let id: string
  beforeEach(async () => {
    const share = await scene.share()
    id = share.providerId
  })

  it('is looked up among A’s own records only', async () => {
    const claims = { aud: BOB, client_id: id, sub: 'alice' }
    const token = keepSecret(await carol.mintToken({ claims }))
    expect(await refusal(token)).toBe('404 share_unknown')
  })

  it('with B as `iss`, under A’s key, by A’s kid or by B’s', async () => {
    const claims = { iss: scene.alice.issuer, aud: BOB, client_id: id, sub: 'alice' }
    expect(await refusal(keepSecret(await carol.mintToken({ claims })))).toBe('401 key_unknown')
    const header = { kid: scene.alice.keys.current.keyid }
    expect(await refusal(keepSecret(await carol.mintToken({ claims, header })))).toBe('401 token_signature')
  })

  it('when A publishes a key under B’s kid, too', async () => {
    const taken = { ...carol.keys.current.publicJwk, kid: scene.alice.keys.current.keyid }
    carol.faults.jwks = { body: JSON.stringify({ keys: [taken] }) }
    const header = { kid: scene.alice.keys.current.keyid }
    const claims = { iss: scene.alice.issuer, aud: BOB, client_id: id, sub: 'alice' }
    expect(await refusal(keepSecret(await carol.mintToken({ claims, header })))).toBe('401 token_signature')
    delete carol.faults.jwks
  })

  it('two records of one id live side by side; each opens with its own server’s token', async () => {
    const body = scene.alice.notification(await scene.share({ mode: 'self-contained' }))
    const theirs = { ...body, providerId: id, sender: carol.address, owner: carol.address, name: 'Carol’s' }
    expect((await carol.provision(theirs)).status).toBe(201)
    const token = keepSecret(await carol.mintToken({ claims: { aud: BOB, client_id: id } }))
    const hers = await launch(scene.gateway, token)
    expect((await scene.visit('/notes/.ocm/session', hers)).json()).toMatchObject({
      senderDomain: carol.domain,
      owner: carol.address,
      share: { name: 'Carol’s' },
    })
  })

  it('a record that names B as sender, signed by A: refused', async () => {
    const body = scene.alice.notification(await scene.share({ mode: 'self-contained' }))
    expect((await carol.provision(body)).status).toBe(401)
    expect((await carol.revoke({ sender: scene.alice.address, providerId: id })).status).toBe(401)
    expect(await refusal(await scene.token({ claims: { aud: BOB, client_id: id } }))).toBe('opened')
  })
})

describe('introspection', () => {
  const answers = new Map<string, unknown>()
  let asked: string[] = []
  let endpoint: ReturnType<typeof createServer>
  let asking: Scene

  beforeAll(async () => {
    endpoint = createServer((req, res) => {
      let body = ''
      req.setEncoding('utf8').on('data', (text) => (body += text))
      req.on('end', () => {
        const token = new URLSearchParams(body).get('token') ?? ''
        asked.push(req.url ?? '')
        const answer = req.url === '/alice' ? answers.get(token) : undefined
        res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer ?? { active: false }))
      })
    })
    await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve))
    const { port } = endpoint.address() as AddressInfo
    const introspection = (path: string) => ({ url: `http://localhost:${port}/${path}`, auth: 'none' })
    asking = await startScene({
      pairing: {
        modes: ['provisioned', 'introspected'],
        introspection: introspection('alice'),
        limits: { introspectionsPerMinute: 200 },
      },
      ocmServers: [{ domain: carol.domain, modes: ['introspected'], introspection: introspection('carol') }],
      webapps: ({ origin }, app, alice) =>
        Object.entries({ notes: alice.domain, carols: carol.domain }).map(([name, domain]) => ({
          name,
          kind: 'generic',
          publicUrl: `${origin}/${name}/`,
          upstream: `${app.url}${name}/`,
          ocmServers: [domain],
        })),
    })
  })
  afterAll(async () => {
    await asking.close()
    await new Promise((resolve) => endpoint.close(resolve))
  })
  beforeEach(() => {
    asked = []
  })

  const secret = (name: string) => keepSecret(`opaque-${name}-${'s'.repeat(20)}`)
  const active = (claims: object = {}) => ({
    active: true,
    iss: asking.alice.issuer,
    sub: 'alice',
    aud: BOB,
    exp: Math.floor(Date.now() / 1000) + 300,
    ...claims,
  })
  const tried = async (token: string, at = '/notes/.ocm/open') => {
    const { status, response } = await launch(asking.gateway, token, { ...AS_JSON, at })
    return status === 303 ? 'opened' : `${status} ${response.json().reason}`
  }

  it('answer of another issuer', async () => {
    const share = await asking.share()
    answers.set(secret('other'), active({ iss: carol.issuer, client_id: share.providerId }))
    expect(await tried(secret('other'))).toMatch(/^401 /)
  })

  it('`active` as a string, a number, or missing', async () => {
    const share = await asking.share()
    for (const [name, value] of Object.entries({ text: 'true', number: 1, nothing: undefined })) {
      answers.set(secret(name), active({ active: value, client_id: share.providerId }))
      expect(await tried(secret(name)), name).toMatch(/^(401 credential_inactive|503 introspection_unavailable)$/)
    }
  })

  it('a cached answer is not used for another pairing or webapp', async () => {
    const share = await asking.share()
    answers.set(secret('hers'), active({ client_id: share.providerId }))
    expect(await tried(secret('hers'))).toBe('opened')
    expect(await tried(secret('hers'), '/carols/.ocm/open')).toBe('401 credential_inactive')
    expect(asked).toEqual(['/alice', '/carol'])
  })

  it('policy is run again on a cache hit', async () => {
    const share = await asking.share()
    answers.set(secret('cached'), active({ client_id: share.providerId }))
    expect([await tried(secret('cached')), await tried(secret('cached'))]).toEqual(['opened', 'opened'])
    await asking.alice.unshare(share.providerId, { notify: false })
    expect(await tried(secret('cached'))).toBe('410 share_revoked')
    expect(asked).toHaveLength(1)
  })

  it('flood of bad credentials: a negative answer is kept, and the rate has an end', async () => {
    const repeated = await Promise.all(Array.from({ length: 10 }, () => tried(secret('bad'))))
    expect(new Set(repeated)).toEqual(new Set(['401 credential_inactive']))
    expect(asked).toHaveLength(1)
    const flood = await Promise.all(Array.from({ length: 40 }, (_, index) => tried(secret(`bad-${index}`))))
    expect(asked.length).toBeLessThanOrEqual(20)
    expect(flood).toContain('429 rate_limited')
  })
})

describe('the launch is the only place where a token counts', () => {
  it('not in `Authorization`, not in the query, not in a cookie', async () => {
    const share = await scene.share()
    const token = await scene.token({ share })
    const before = scene.app.requests.length
    const tries = [
      scene.send('/notes/', { headers: { Authorization: `Bearer ${token}` } }),
      scene.send('/notes/', { headers: { Cookie: `__Secure-ocm-notes-00000000=${token}; access_token=${token}` } }),
      send(scene.gateway, '/notes/.ocm/open', {
        ...form({ other: '1' }),
        headers: { ...form({}).headers, Authorization: `Bearer ${token}` },
      }),
    ]
    expect((await Promise.all(tries)).map(({ status }) => status)).toEqual([401, 401, 400])
    expect(scene.app.requests.length).toBe(before)
  })
})
