import type { ProtectedHeaderParameters } from 'jose'
import { invalidToken } from '../../core/errors.ts'
import type { Events } from '../../core/events.ts'
import { Secret } from '../../core/secret.ts'
import type { Clock } from '../../core/time.ts'
import { JWS_ALGORITHMS, type VerificationKey } from '../jwk.ts'
import type { Keys } from '../keys.ts'
import type { Pairing, Pairings } from '../pairings.ts'
import { type Claims, decodeUnverified, verifyClaims } from './claims.ts'
import type { CredentialVerifier } from './credential.ts'

/** Header members that bring or point to a key of their own (RFC 7515 §4.1), or extensions we would have to understand. */
const FORBIDDEN_HEADERS = ['jwk', 'jku', 'x5u', 'x5c', 'crit'] as const

/**
 * Access tokens in JWT form, against the keys their issuer publishes.
 *
 * @see RFC 9068 §4, RFC 8725
 *
 * Does NOT check that the token’s `sub`, `aud` and `client_id` belong to a share, or whether the pairing permits the mode.
 */
export function createJwtVerifier({
  pairings,
  keys,
  now,
  events,
}: {
  pairings: Pairings
  keys: Pick<Keys, 'find'>
  now: Clock
  events: Events
}): CredentialVerifier {
  const tolerated = new Set<string>()

  function checkType(typ: unknown, pairing: Pairing): void {
    const type = typeOf(typ)
    if (type === 'at+jwt') return
    const untyped = typ === undefined || type === 'jwt'
    if (!untyped || !pairing.tolerate.includes('untyped-tokens')) {
      throw invalidToken('token_type', 'The token’s typ is not at+jwt (RFC 9068): it is not an access token.')
    }
    if (tolerated.has(pairing.domain)) return
    tolerated.add(pairing.domain)
    events.toleranceUsed({ senderDomain: pairing.domain, tolerance: 'untyped-tokens' })
  }

  return async (text) => {
    const parsed = decodeUnverified(text)
    if (parsed === undefined) return undefined
    const { header, payload } = parsed
    const pairing = pairings.ofIssuer(payload.iss)
    const kid = checkHeader(header)
    checkType(header.typ, pairing)
    const key = await keys.find(pairing, kid)
    return { pairing, token: new Secret(text), ...(await verify(text, header, key, now())), introspected: false }
  }
}

/** RFC 7515 §4.1.9: without regard to case, and `application/` may be left out. */
function typeOf(typ: unknown): string | undefined {
  return typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : undefined
}

/** @returns the `kid` */
function checkHeader(header: ProtectedHeaderParameters): string {
  for (const name of FORBIDDEN_HEADERS) {
    if (Object.hasOwn(header, name))
      throw invalidToken('token_header', `The token’s header has ${name}, which is never followed.`)
  }
  const { alg, kid } = header
  if (typeof alg !== 'string' || !Object.values(JWS_ALGORITHMS).some((names) => names.includes(alg))) {
    throw invalidToken('token_algorithm', 'The token’s alg is not one of the asymmetric signature algorithms.')
  }
  if (typeof kid !== 'string' || kid === '')
    throw invalidToken('token_kid', 'The token’s header has no kid, so its key cannot be found.')
  if (kid.endsWith('#signature') && typeOf(header.typ) !== 'at+jwt') {
    throw invalidToken(
      'token_legacy',
      'The token is of an older Nextcloud: the sending server has to be upgraded (its tokens must be of typ at+jwt, under a published key).',
    )
  }
  return kid
}

async function verify(
  text: string,
  { alg = '' }: ProtectedHeaderParameters,
  key: VerificationKey,
  now: number,
): Promise<Claims> {
  const fits =
    key.alg === undefined ? JWS_ALGORITHMS[key.kind].includes(alg) : key.alg === alg.replace('Ed25519', 'EdDSA')
  if (!fits) throw invalidToken('token_algorithm', 'The token’s alg does not fit the key that its kid names.')
  return verifyClaims(text, key.key, alg, now)
}
