import { createSecretKey } from 'node:crypto'
import { Secret } from '../../core/secret.ts'
import type { Clock } from '../../core/time.ts'
import type { Pairings } from '../pairings.ts'
import { decodeUnverified, verifyClaims } from './claims.ts'
import type { CredentialVerifier } from './credential.ts'

/**
 * HS256 access tokens of pairings that share a key with us, dedicated to that pairing (`sharedKeyFile`): how CERNBox and the
 * WOPI server trust each other. The only place that knows a symmetric algorithm; no published key ever comes here.
 *
 * Claims are as in RFC 9068, with `iss` the pairing’s; `typ` and `kid` are not asked for. reva’s own tokens say none of that
 * and are refused.
 */
export function createSharedKeyVerifier({ pairings, now }: { pairings: Pairings; now: Clock }): CredentialVerifier {
  return async (text) => {
    const parsed = decodeUnverified(text)
    if (parsed?.header.alg !== 'HS256') return undefined
    const pairing = pairings.ofIssuer(parsed.payload.iss)
    if (pairing.sharedKeyFile === undefined) return undefined
    const key = createSecretKey(Buffer.from(pairing.sharedKeyFile.reveal()))
    const claims = await verifyClaims(text, key, 'HS256', now())
    return { pairing, token: new Secret(text), ...claims, introspected: false }
  }
}
