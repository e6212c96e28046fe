import { createPublicKey, type KeyObject, verify } from 'node:crypto'

/** The public keys that an editor publishes; the older one while it changes keys. */
export interface ProofKeys {
  readonly current: KeyObject
  readonly old: KeyObject | undefined
}

/** What an editor signed, and how. */
export interface Proof {
  /** As it was signed: usually decoded. */
  readonly token: string
  /** As the editor requested it. */
  readonly url: string
  /** `X-WOPI-TimeStamp`: 100 ns ticks since the year 1. */
  readonly timestamp: bigint
  /** `X-WOPI-Proof` and `X-WOPI-ProofOld`, base64. */
  readonly proof: string
  readonly proofOld: string | undefined
}

const TICKS_PER_MS = 10_000n
const TICKS_AT_UNIX_EPOCH = 621_355_968_000_000_000n
const MAX_AGE_SECONDS = 20 * 60
const MAX_SKEW_SECONDS = 5 * 60

/** An RSA key as discovery gives it: base64, big endian. @returns `undefined` when it is none */
export function proofKey(modulus: string | undefined, exponent: string | undefined): KeyObject | undefined {
  if (!modulus || !exponent) return undefined
  const base64url = (text: string) => Buffer.from(text, 'base64').toString('base64url')
  try {
    return createPublicKey({ key: { kty: 'RSA', n: base64url(modulus), e: base64url(exponent) }, format: 'jwk' })
  } catch {
    return undefined
  }
}

/** `X-WOPI-TimeStamp` as it is sent. @returns `undefined` when it is no number that fits 64 bits */
export function readTimestamp(text: string | undefined): bigint | undefined {
  return text !== undefined && /^\d{1,18}$/.test(text) ? BigInt(text) : undefined
}

/** Not older than 20 minutes, and not from the future but for a little difference between two clocks. */
export function isFresh(timestamp: bigint, nowSeconds: number): boolean {
  const seconds = Number((timestamp - TICKS_AT_UNIX_EPOCH) / TICKS_PER_MS) / 1000
  return seconds >= nowSeconds - MAX_AGE_SECONDS && seconds <= nowSeconds + MAX_SKEW_SECONDS
}

/** The bytes that are signed: three values, each behind its length (32 bits, big endian). */
function signedBytes({ token, url, timestamp }: Pick<Proof, 'token' | 'url' | 'timestamp'>): Buffer {
  const time = Buffer.alloc(8)
  time.writeBigUInt64BE(timestamp)
  return Buffer.concat([Buffer.from(token), Buffer.from(url.toUpperCase()), time].flatMap(withLength))
}

function withLength(bytes: Buffer): Buffer[] {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return [length, bytes]
}

/**
 * Which key a call was signed with (RSASSA-PKCS1-v1_5, SHA-256): the current signature with the current key, or, while keys
 * change, the older signature with our current key (`ahead`: the editor has newer keys than we), or the current signature with
 * the older key (`behind`). An older signature with the older key proves nothing.
 *
 * @returns `undefined` when none fits
 *
 * Does NOT look at the age of the timestamp.
 */
export function verifyProof(proof: Proof, { current, old }: ProofKeys): 'current' | 'ahead' | 'behind' | undefined {
  const bytes = signedBytes(proof)
  const fits = (signature: string | undefined, key: KeyObject | undefined) =>
    signature !== undefined && key !== undefined && verify('sha256', bytes, key, Buffer.from(signature, 'base64'))
  if (fits(proof.proof, current)) return 'current'
  if (fits(proof.proofOld, current)) return 'ahead'
  return fits(proof.proof, old) ? 'behind' : undefined
}
