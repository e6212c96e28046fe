import { afterAll, describe, expect, it } from 'vitest'
import { outcomeOf } from '../unit/fixtures.ts'
import { KEYCLOAK, startKeycloak } from './keycloak.ts'
import { startOurSide } from './our-side.ts'
import { usePeer } from './peers.ts'

const SECRET = 'p%20 +&=:/ß'
const ALICE = { username: 'alice', password: 'alices-password' }
const SHARE = { id: '42', secret: 'of the sending server' }

const us = await startOurSide()
afterAll(() => us.stop())

const keycloak = usePeer(`Keycloak ${KEYCLOAK}`, () =>
  startKeycloak({
    users: [
      {
        id: 'alice',
        email: 'alice@example.org',
        firstName: 'Alice',
        lastName: 'A',
        enabled: true,
        ...credentials(ALICE),
      },
    ],
    clients: [
      { clientId: 'with-secret', secret: SECRET },
      { clientId: 'with-key', clientAuthenticatorType: 'client-jwt', attributes: keysAt(us.jwksUrl) },
    ],
  }),
)

function credentials({ username, password }: typeof ALICE) {
  return { username, credentials: [{ type: 'password', value: password }] }
}

function keysAt(url: string) {
  return { 'use.jwks.url': 'true', 'jwks.url': url, 'token.endpoint.auth.signing.alg': 'EdDSA' }
}

const asker = (introspection: Record<string, unknown>, secret?: string) =>
  us.asker(keycloak().authority, {
    introspection: { url: keycloak().introspectionUrl, ...introspection },
    ...(secret && { secret }),
  })

describe('x', () => {
  it.each([['client_secret_basic'], ['client_secret_post']])('%s', async (auth) => {
    const ask = asker({ auth, clientId: 'with-secret' }, SECRET)
    expect(await outcomeOf(() => ask('unknown'))).toBe('401 credential_inactive')
    expect(await outcomeOf(() => asker({ auth, clientId: 'with-secret' }, 'wrong')('unknown'))).toBe(
      '503 introspection_unavailable',
    )
  })
  it('key', async () => {
    const ask = asker({ auth: 'private_key_jwt', clientId: 'with-key' })
    expect(await outcomeOf(() => ask('unknown'))).toBe('401 credential_inactive')
  })
})
void SHARE
