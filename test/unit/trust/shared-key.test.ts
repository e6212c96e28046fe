import { createSecretKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { Secret } from '../../../src/core/secret.ts'
import { createSharedKeyVerifier } from '../../../src/trust/credentials/shared-key.ts'
import { createPairings } from '../../../src/trust/pairings.ts'
import { pairingOf, START } from '../fixtures.ts'
import { forge, mint } from '../peer-tokens.ts'

const KEY = 'a key that only this one pairing has'
const OTHER = 'the key of quite another pairing 123'

const pairings = createPairings(
  [
    { ...pairingOf('nextcloud1.docker'), sharedKeyFile: new Secret(KEY) },
    { ...pairingOf('other.example'), sharedKeyFile: new Secret(OTHER) },
    pairingOf('plain.example'),
  ],
  { insecureLoopback: false },
)
const verify = (text: string) => createSharedKeyVerifier({ pairings, now: () => START })(text, pairings.all, 'somebody')
const by = (key: string, change: Record<string, unknown> = {}) =>
  mint({
    key: createSecretKey(Buffer.from(key)),
    alg: 'HS256',
    kid: '',
    header: { kid: undefined, typ: 'JWT' },
    claims: change,
  })

describe('a token under a shared key', () => {
  it('is accepted when the key is the pairing’s own', async () => {
    await expect(verify(await by(KEY))).resolves.toMatchObject({ sub: 'alice', clientId: '42', introspected: false })
  })

  it.each([
    ['the key of another pairing', () => by(OTHER), 'token_signature'],
    ['the right key, but for another issuer', () => by(KEY, { iss: 'https://other.example' }), 'token_signature'],
    ['an issuer that is not paired', () => by(KEY, { iss: 'https://evil.example' }), 'issuer_not_paired'],
    ['no issuer, as reva sends it', () => by(KEY, { iss: undefined }), 'issuer_malformed'],
    ['an exp that has passed', () => by(KEY, { exp: START - 61 }), 'token_expired'],
    ['no client_id', () => by(KEY, { client_id: undefined }), 'token_claims'],
  ])('is refused with %s', async (_, token, reason) => {
    await expect(verify(await token())).rejects.toMatchObject({ status: 401, reason })
  })

  it.each([
    ['no shared key is configured for its pairing', () => by(KEY, { iss: 'https://plain.example' })],
    ['its alg is none', async () => forge({ alg: 'none' }, { iss: 'https://nextcloud1.docker' })],
    [
      'its alg is another symmetric one',
      async () => forge({ alg: 'HS512' }, { iss: 'https://nextcloud1.docker' }, 'x'),
    ],
    ['it is no JWT', async () => 'opaque'],
  ])('is not this verifier’s when %s', async (_, token) => {
    await expect(verify(await token())).resolves.toBeUndefined()
  })
})
