import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type GatewayProcess, startGatewayProcess } from '../flow/gateway-process.ts'
import { launch, send } from '../flow/harness.ts'
import { keepSecret } from '../flow/leaks.ts'
import { outcomeOf } from '../unit/fixtures.ts'
import { type OidcProvider, startOidcProvider } from './oidc-provider.ts'
import { startOurSide } from './our-side.ts'
import { npmPackage, usePeer } from './peers.ts'

/** Characters that the form and the header each spell in another way. */
const SECRET = 'p%20 +&=:/~"secret"'
const ALICE_TO_BOB = { sub: 'alice', aud: 'bob@bob.localhost:8443' }
const CREDENTIAL = { ...ALICE_TO_BOB, clientId: '42', introspected: true, ocmIp: undefined }

const us = await startOurSide()
afterAll(() => us.stop())

/** Us in the words of RFC 7591 §2: one registration for each way to say who asks, of the same name. */
const REGISTRATIONS = [
  { client_id: 'client_secret_basic', client_secret: SECRET },
  { client_id: 'client_secret_post', client_secret: SECRET },
  { client_id: 'private_key_jwt', jwks_uri: us.jwksUrl },
  { client_id: 'none' },
].map((registration) => ({
  ...registration,
  token_endpoint_auth_method: registration.client_id,
  redirect_uris: [],
  response_types: [],
  grant_types: [],
}))

/** Our verifier, paired with the provider. */
function asker(server: OidcProvider, auth: string, { secret = SECRET, keysUrl = server.jwksUrl, side = us } = {}) {
  const introspection = { url: server.introspectionUrl, auth, clientId: auth }
  return side.asker(server.authority, { introspection, keysUrl, ...(auth !== 'none' && { secret }) })
}

const provider = usePeer(npmPackage('oidc-provider'), () => startOidcProvider(REGISTRATIONS))

describe('oidc-provider, asked about an opaque token', () => {
  it.each(['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'])(
    'knows us by %s and says whose it is',
    async (auth) => {
      const token = await provider().issue(ALICE_TO_BOB)
      await expect(asker(provider(), auth)(token)).resolves.toMatchObject(CREDENTIAL)
    },
  )

  it('passes the ocm_ip member on as it is', async () => {
    const ocm_ip = { providerId: '42', resourceType: 'folder', protocol: { name: 'webapp', webapp: {} } }
    const token = await provider().issue({ ...ALICE_TO_BOB, ocm_ip })
    const ask = asker(provider(), 'private_key_jwt')
    await expect(ask(token)).resolves.toMatchObject({ ...CREDENTIAL, ocmIp: ocm_ip })
  })

  it('says that a token it has revoked, or never issued, is not active', async () => {
    const token = await provider().issue(ALICE_TO_BOB)
    await provider().revoke(token)
    const ask = asker(provider(), 'client_secret_basic')
    expect(await outcomeOf(() => ask(token))).toBe('401 credential_inactive')
    expect(await outcomeOf(() => ask('never issued'))).toBe('401 credential_inactive')
  })

  it.each(['client_secret_basic', 'client_secret_post'])(
    'lets nobody in when our %s is wrong, and that is not the person’s fault',
    async (auth) => {
      const token = await provider().issue(ALICE_TO_BOB)
      const ask = asker(provider(), auth, { secret: 'wrong' })
      expect(await outcomeOf(() => ask(token))).toBe('503 introspection_unavailable')
    },
  )

  it.each(['bearer', 'http-signature'])('does not know %s, and lets nobody in', async (auth) => {
    const token = await provider().issue(ALICE_TO_BOB)
    expect(await outcomeOf(() => asker(provider(), auth)(token))).toBe('503 introspection_unavailable')
  })

  it('speaks for its own issuer only', async () => {
    const token = await provider().issue(ALICE_TO_BOB)
    const introspection = { url: provider().introspectionUrl, auth: 'none', clientId: 'none' }
    const ask = us.asker('cloud.example.org', { introspection })
    expect(await outcomeOf(() => ask(token))).toBe('401 issuer_not_paired')
  })
})

describe('a launch with an opaque token of oidc-provider', () => {
  const folder = mkdtempSync(join(tmpdir(), 'secret-'))
  const clientSecretFile = join(folder, 'client-secret')
  writeFileSync(clientSecretFile, `${keepSecret(SECRET)}\n`)
  let gateway: GatewayProcess

  beforeAll(async () => {
    const introspection = { url: provider().introspectionUrl, auth: 'client_secret_basic', clientSecretFile }
    const pairing = { domain: provider().authority, modes: ['introspected'] }
    gateway = await startGatewayProcess(({ origin }) => ({
      ocmServers: [{ ...pairing, introspection: { ...introspection, clientId: 'client_secret_basic' } }],
      webapps: [
        { name: 'notes', kind: 'generic', publicUrl: `${origin}/notes/`, upstream: 'http://127.0.0.1:9/notes/' },
      ],
    }))
  })
  afterAll(async () => {
    await gateway.stop()
    rmSync(folder, { recursive: true })
  })

  const webapp = { uri: 'https://apps.example.org/notes/.ocm/open', permissions: ['read'] }
  const ocm_ip = { providerId: '42', resourceType: 'folder', name: 'analysis', protocol: { name: 'multi', webapp } }

  it('opens a session with what the answer grants', async () => {
    const { status, cookie } = await launch(gateway, await provider().issue({ ...ALICE_TO_BOB, ocm_ip }))
    expect(status).toBe(303)
    const session = await send(gateway, '/notes/.ocm/session', { headers: { cookie } })
    expect(JSON.parse(session.body.toString())).toMatchObject({
      mode: 'introspected',
      user: ALICE_TO_BOB.aud,
      owner: `alice@${provider().authority}`,
      share: { id: '42', name: 'analysis', resourceType: 'folder' },
      permissions: ['read'],
    })
  })

  it('is refused when the provider has revoked the token', async () => {
    const token = await provider().issue({ ...ALICE_TO_BOB, ocm_ip })
    await provider().revoke(token)
    expect(await launch(gateway, token)).toMatchObject({ status: 401 })
  })
})

describe('oidc-provider, when it signs its answers (RFC 9701)', () => {
  const signing = usePeer(`${npmPackage('oidc-provider')}, signed answers`, () =>
    startOidcProvider(REGISTRATIONS, { signedAnswers: true }),
  )

  it('is believed under its published key', async () => {
    const token = await signing().issue(ALICE_TO_BOB)
    await expect(asker(signing(), 'client_secret_basic')(token)).resolves.toMatchObject(CREDENTIAL)
  })

  it('is not believed under another key: so it was asked to sign, and did', async () => {
    const token = await signing().issue(ALICE_TO_BOB)
    const side = await startOurSide()
    const ask = asker(signing(), 'client_secret_basic', { keysUrl: us.jwksUrl, side })
    const outcome = await outcomeOf(() => ask(token)).finally(side.stop)
    expect(outcome).toBe('503 introspection_unavailable')
  })
})
