import { randomUUID } from 'node:crypto'
import { type JWTPayload, SignJWT } from 'jose'
import type { Clock } from '../core/time.ts'
import type { Keyring, ServerKey } from './keyring.ts'
import { notificationOf, type SentShare } from './sent-share.ts'

/** How a token differs from a good one. */
export interface TokenWish {
  readonly share?: SentShare
  /** Over the usual claims; `undefined` leaves one out. */
  readonly claims?: JWTPayload
  readonly header?: { readonly alg?: string; readonly kid?: string | undefined; readonly typ?: string | undefined }
  /** Signs instead of the current key: another of ours, or bytes for HS256. */
  readonly key?: ServerKey | Uint8Array
}

interface Issuer {
  readonly issuer: string
  readonly user: string
  readonly keys: Keyring
  readonly now: Clock
  readonly lifetimeSeconds: number
}

/** Mints access tokens as current Nextcloud does: `at+jwt`, the owner’s bare uid as `sub`, the `providerId` as `client_id` (RFC 9068). */
export function createAccessTokens({ issuer, user, keys, now, lifetimeSeconds }: Issuer) {
  return async ({ share, claims, header, key = keys.current }: TokenWish = {}): Promise<string> => {
    const iat = Math.floor(now())
    const usual = { iss: issuer, sub: user, iat, exp: iat + lifetimeSeconds, jti: randomUUID() }
    const symmetric = key instanceof Uint8Array
    const signing = symmetric ? { alg: 'HS256', kid: keys.current.keyid } : { alg: key.alg, kid: key.keyid }
    const token = await new SignJWT({ ...usual, ...(share && claimsOf(share)), ...claims })
      .setProtectedHeader({ typ: 'at+jwt', ...signing, ...header })
      .sign(symmetric ? key : key.key)
    share?.bearers.add(token)
    return token
  }
}

function claimsOf(share: SentShare): JWTPayload {
  const claims = { aud: share.shareWith, client_id: share.providerId }
  if (share.mode === 'provisioned') return claims
  const { protocol, providerId, resourceType, name, shareType, expiration } = notificationOf(share)
  return { ...claims, ocm_ip: { protocol, providerId, resourceType, name, shareType, expiration } }
}
