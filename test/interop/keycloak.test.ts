import { afterAll, describe, expect, it } from 'vitest'
import { outcomeOf } from '../unit/fixtures.ts'
import { KEYCLOAK, startKeycloak } from './keycloak.ts'
import { startOurSide } from './our-side.ts'
import { usePeer } from './peers.ts'

/** Characters that the form and the header each spell in another way. */
const SECRET = 'p%20 +&=:/~ß"secret"'
const ALICE = { username: 'alice', password: 'alices-password' }
const SHARE = { id: '42', secret: 'of-the-sending-server' }

const us = await startOurSide()
afterAll(() => us.stop())

/** Keycloak puts a client into the audience, and lets only clients in the audience ask about the token (since 26.6.2). */
const audience = (name: string, entry: Record<string, string>) => ({
  name,
  protocol: 'openid-connect',
  protocolMapper: 'oidc-audience-mapper',
  config: { ...entry, 'access.token.claim': 'true', 'introspection.token.claim': 'true' },
})

const keycloak = usePeer(`Keycloak ${KEYCLOAK}`, () =>
  startKeycloak({
    users: [
      {
        username: ALICE.username,
        credentials: [{ type: 'password', value: ALICE.password }],
        enabled: true,
        email: 'alice@example.org',
        firstName: 'Alice',
        lastName: 'Example',
      },
    ],
    clients: [
      { clientId: 'with-secret', secret: SECRET },
      {
        clientId: 'with-key',
        clientAuthenticatorType: 'client-jwt',
        attributes: { 'use.jwks.url': 'true', 'jwks.url': us.jwksUrl, 'token.endpoint.auth.signing.alg': 'EdDSA' },
      },
      {
        clientId: SHARE.id,
        secret: SHARE.secret,
        directAccessGrantsEnabled: true,
        fullScopeAllowed: false,
        protocolMappers: [
          audience('recipient', { 'included.custom.audience': 'bob@bob.localhost:8443' }),
          audience('gateway', { 'included.client.audience': 'with-secret' }),
        ],
      },
    ],
  }),
)

/** Our verifier, paired with Keycloak. */
function asker(auth: string, clientId: string, secret = '') {
  const introspection = { url: keycloak().introspectionUrl, auth, clientId }
  return us.asker(keycloak().authority, { introspection, secret })
}

/** The same, told what Keycloak calls itself. */
function named(issuer: string) {
  const introspection = {
    url: keycloak().introspectionUrl,
    issuer,
    auth: 'client_secret_basic',
    clientId: 'with-secret',
  }
  return us.asker(keycloak().authority, { introspection, secret: SECRET })
}

describe('Keycloak', () => {
  it.each([
    ['client_secret_basic', 'with-secret', SECRET],
    ['client_secret_post', 'with-secret', SECRET],
    ['private_key_jwt', 'with-key', ''],
  ])('knows us by %s, and says that a credential it never issued is not active', async (auth, clientId, secret) => {
    expect(await outcomeOf(() => asker(auth, clientId, secret)('never issued'))).toBe('401 credential_inactive')
  })

  it.each([
    ['client_secret_basic', 'with-secret', 'wrong'],
    ['client_secret_post', 'with-secret', 'wrong'],
    ['private_key_jwt', 'with-secret', ''],
    ['bearer', 'with-secret', SECRET],
    ['http-signature', 'with-secret', ''],
    ['none', 'with-secret', ''],
  ])('does not know us by %s as %s with the secret "%s": nobody is let in', async (auth, clientId, secret) => {
    expect(await outcomeOf(() => asker(auth, clientId, secret)('never issued'))).toBe('503 introspection_unavailable')
  })

  it('names itself with a path, which is no OCM server: without introspection.issuer its own tokens are refused without a question', async () => {
    const token = await keycloak().tokenFor(ALICE, SHARE)
    expect(await outcomeOf(() => asker('client_secret_basic', 'with-secret', SECRET)(token))).toBe(
      '401 issuer_malformed',
    )
  })

  it('says whose its own token is, once introspection.issuer gives its name; we are passed over in the audience', async () => {
    const token = await keycloak().tokenFor(ALICE, SHARE)
    const verified = await named(keycloak().issuer)(token)
    expect(verified).toMatchObject({ aud: 'bob@bob.localhost:8443', clientId: SHARE.id, introspected: true })
    expect(verified?.sub).toMatch(/^[0-9a-f-]{36}$/)
    expect(await outcomeOf(() => named(`${keycloak().issuer}x`)(token))).toBe('401 issuer_malformed')
  })
})
