import {
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  jwtVerify,
  type ProtectedHeaderParameters,
} from 'jose'
import { type GatewayError, invalidToken } from '../../core/errors.ts'
import type { Events } from '../../core/events.ts'
import { Secret } from '../../core/secret.ts'
import type { Clock } from '../../core/time.ts'
import { JWS_ALGORITHMS, type VerificationKey } from '../jwk.ts'
import type { Keys } from '../keys.ts'
import type { Pairing, Pairings } from '../pairings.ts'
import type { CredentialVerifier } from './credential.ts'

export const CLOCK_SKEW_SECONDS = 60
/** The longest life of a token that is honoured; tombstones outlive it. */
export const MAX_TOKEN_SECONDS = 86_400

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
  keys: Keys
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
    const parsed = decode(text)
    if (parsed === undefined) return undefined
    const { header, payload } = parsed
    const pairing = pairings.ofIssuer(payload.iss)
    const kid = checkHeader(header)
    checkType(header.typ, pairing)
    const key = await keys.find(pairing, kid)
    const claims = await verify(text, header, key, now())
    return { pairing, token: new Secret(text), ...readClaims(claims, now()), introspected: false }
  }
}

function decode(text: string): { header: ProtectedHeaderParameters; payload: JWTPayload } | undefined {
  try {
    return { header: decodeProtectedHeader(text), payload: decodeJwt(text) }
  } catch {
    return undefined
  }
}

/** The `iss` that a JWT claims, not verified; `undefined` when the text is no JWT. */
export function issuerOf(text: string): { readonly claimed: unknown } | undefined {
  const parsed = decode(text)
  return parsed && { claimed: parsed.payload.iss }
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
): Promise<JWTPayload> {
  const fits =
    key.alg === undefined ? JWS_ALGORITHMS[key.kind].includes(alg) : key.alg === alg.replace('Ed25519', 'EdDSA')
  if (!fits) throw invalidToken('token_algorithm', 'The token’s alg does not fit the key that its kid names.')
  try {
    const { payload } = await jwtVerify(text, key.key, {
      algorithms: [alg],
      currentDate: new Date(now * 1000),
      clockTolerance: CLOCK_SKEW_SECONDS,
      requiredClaims: ['iss', 'sub', 'aud', 'exp', 'client_id'],
    })
    return payload
  } catch (error) {
    throw refusalOf(error, now)
  }
}

function refusalOf(error: unknown, now: number): unknown {
  if (error instanceof errors.JWTExpired) {
    const ago = Math.round(now - Number(error.payload.exp))
    return invalidToken('token_expired', `The token expired ${ago} s ago.`)
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, reason } = error
    if (claim === 'nbf' && reason === 'check_failed')
      return invalidToken('token_not_yet_valid', 'The token is not valid yet: its nbf lies in the future.')
    return invalidToken(
      'token_claims',
      `The token’s claim ${claim} is ${reason === 'missing' ? 'missing' : 'not acceptable'}.`,
    )
  }
  if (error instanceof errors.JOSEError)
    return invalidToken('token_signature', 'The token’s signature does not verify with its issuer’s key.')
  return error
}

function readClaims(claims: JWTPayload, now: number) {
  const { sub, exp = 0, iat, client_id: clientId, ocm_ip: ocmIp } = claims
  const aud = Array.isArray(claims.aud) && claims.aud.length === 1 ? claims.aud[0] : claims.aud
  if (typeof sub !== 'string' || sub === '') throw claimRefused('sub', 'a non-empty string')
  if (typeof aud !== 'string' || aud === '') throw claimRefused('aud', 'the one recipient')
  if (!(typeof clientId === 'string' && clientId !== '') && !Number.isSafeInteger(clientId))
    throw claimRefused('client_id', 'the id of a share')
  if (typeof iat === 'number' && iat > now + CLOCK_SKEW_SECONDS) {
    throw invalidToken(
      'token_not_yet_valid',
      'The token’s iat lies in the future: check the clock of the sending server.',
    )
  }
  if (exp > now + MAX_TOKEN_SECONDS + CLOCK_SKEW_SECONDS) {
    throw invalidToken(
      'token_lifetime',
      `The token is valid for longer than ${MAX_TOKEN_SECONDS / 3600} h, which is not accepted.`,
    )
  }
  return { sub, aud, exp, ocmIp, clientId: String(clientId) }
}

function claimRefused(claim: string, right: string): GatewayError {
  return invalidToken('token_claims', `The token’s claim ${claim} is not ${right}.`)
}
