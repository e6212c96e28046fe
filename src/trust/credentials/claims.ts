import type { KeyObject } from 'node:crypto'
import {
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  jwtVerify,
  type ProtectedHeaderParameters,
} from 'jose'
import { type GatewayError, invalidToken } from '../../core/errors.ts'
import type { VerifiedCredential } from './credential.ts'

export const CLOCK_SKEW_SECONDS = 60
/** The longest life of a token that is honoured; tombstones outlive it. */
export const MAX_TOKEN_SECONDS = 86_400

/** What an access token says, once its signature and its times have been checked. */
export type Claims = Pick<VerifiedCredential, 'sub' | 'aud' | 'exp' | 'ocmIp'> & { readonly clientId: string }

/** A JWT taken apart, nothing of it verified; `undefined` when the text is none. */
export function decodeUnverified(text: string): { header: ProtectedHeaderParameters; payload: JWTPayload } | undefined {
  try {
    return { header: decodeProtectedHeader(text), payload: decodeJwt(text) }
  } catch {
    return undefined
  }
}

/** The `iss` that a JWT claims, not verified; `undefined` when the text is no JWT. */
export function issuerOf(text: string): { readonly claimed: unknown } | undefined {
  const parsed = decodeUnverified(text)
  return parsed && { claimed: parsed.payload.iss }
}

/**
 * Verifies a JWT’s signature and its claims (RFC 9068 §4) with one key and one algorithm, both chosen by the caller.
 *
 * @param now epoch seconds
 * @throws {GatewayError} 401 `token_expired`, `token_not_yet_valid`, `token_claims`, `token_lifetime`, `token_signature`
 *
 * Does NOT check `iss` or `typ`.
 */
export async function verifyClaims(text: string, key: KeyObject, alg: string, now: number): Promise<Claims> {
  try {
    const { payload } = await jwtVerify(text, key, {
      algorithms: [alg],
      currentDate: new Date(now * 1000),
      clockTolerance: CLOCK_SKEW_SECONDS,
      requiredClaims: ['iss', 'sub', 'aud', 'exp', 'client_id'],
    })
    return readClaims(payload, now)
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

function readClaims(claims: JWTPayload, now: number): Claims {
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
