import { createPublicKey, type KeyObject } from 'node:crypto'
import { z } from 'zod'

/** A public key that a peer published, imported once. */
export interface VerificationKey {
  readonly kid: string
  readonly key: KeyObject
  /** The JWK’s `alg` (RFC 7518 §3.1, RFC 8037, RFC 9864), when it has one. `Ed25519` is kept as `EdDSA`. */
  readonly alg: string | undefined
  readonly kind: KeyKind
}

export type KeyKind = 'Ed25519' | 'P-256' | 'P-384' | 'RSA'

/** Which JWS algorithms fit which key: the one table for tokens and HTTP signatures. The first is assumed when none is named. */
export const JWS_ALGORITHMS: Record<KeyKind, readonly string[]> = {
  Ed25519: ['EdDSA', 'Ed25519'],
  'P-256': ['ES256'],
  'P-384': ['ES384'],
  RSA: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
}

const MIN_RSA_BITS = 2048

const publicJwk = z.object({
  kty: z.string(),
  kid: z.string().min(1).max(2048),
  crv: z.string().optional(),
  alg: z.string().optional(),
  use: z.string().optional(),
  key_ops: z.array(z.string()).optional(),
  x: z.string().optional(),
  y: z.string().optional(),
  n: z.string().max(3000).optional(),
  e: z.string().optional(),
})

/**
 * Reads one member of a JWK Set (RFC 7517 §5) as a signature verification key.
 *
 * @returns why it is not usable, as text, when it is private, symmetric, for encryption, weak, or its `alg` does not fit
 */
export function importVerificationKey(value: unknown): VerificationKey | string {
  const parsed = publicJwk.safeParse(value)
  if (!parsed.success) return 'not a JWK with kty and kid'
  const { kty, crv, alg, use, key_ops, kid, ...material } = parsed.data
  if (typeof value === 'object' && value !== null && 'd' in value) return `${kid}: a private key was published`
  if (use !== undefined && use !== 'sig') return `${kid}: use is ${use}, not sig`
  if (key_ops !== undefined && !key_ops.includes('verify')) return `${kid}: key_ops has no verify`
  const kind = kindOf(kty, crv)
  if (kind === undefined) return `${kid}: kty ${kty}${crv ? ` with crv ${crv}` : ''} is not supported`
  if (alg !== undefined && !JWS_ALGORITHMS[kind].includes(alg)) return `${kid}: alg ${alg} does not fit a ${kind} key`
  try {
    const key = createPublicKey({ key: { kty, ...(crv && { crv }), ...material }, format: 'jwk' })
    if (kind === 'RSA' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < MIN_RSA_BITS)
      return `${kid}: RSA below ${MIN_RSA_BITS} bits`
    return { kid, key, alg: alg === 'Ed25519' ? 'EdDSA' : alg, kind }
  } catch {
    return `${kid}: the key material is malformed`
  }
}

function kindOf(kty: string, crv: string | undefined): KeyKind | undefined {
  if (kty === 'RSA') return 'RSA'
  if (kty === 'OKP' && crv === 'Ed25519') return 'Ed25519'
  if (kty === 'EC' && (crv === 'P-256' || crv === 'P-384')) return crv
  return undefined
}
