import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { calculateJwkThumbprint, exportJWK, type JWK, SignJWT } from 'jose'
import type { RequestSigner } from './http-signature.ts'

/** Our own key: signs requests and assertions. Its public half is at `/.well-known/jwks.json`. */
export interface SigningKey extends RequestSigner {
  readonly kind: 'Ed25519'
  /** Our host as peers see it, with a non-default port. */
  readonly authority: string
  /** The JWK Set to publish (RFC 7517 §5). */
  readonly jwks: { readonly keys: readonly JWK[] }
  /** A compact JWT (EdDSA), `kid` in its header. */
  signJwt(claims: Record<string, unknown>, times: { issuedAt: number; expiresAt: number }): Promise<string>
}

/** A new Ed25519 private JWK as JSON text (RFC 8037 §2). */
export function generateSigningKey(): string {
  const { privateKey } = generateKeyPairSync('ed25519')
  return `${JSON.stringify({ ...privateKey.export({ format: 'jwk' }), alg: 'EdDSA', use: 'sig' }, null, 2)}\n`
}

/**
 * Reads the key file, or makes it when it is missing.
 *
 * @param authority our host as peers see it, with a non-default port; the `kid` is `<authority>#<RFC 7638 thumbprint>`
 * @throws {Error} when the file holds anything but an Ed25519 private JWK, or cannot be made
 */
export async function loadSigningKey(file: string, authority: string): Promise<SigningKey & { created: boolean }> {
  const { text, created } = readOrCreate(file)
  const key = importPrivateKey(text, file)
  const publicJwk = await exportJWK(key).then(({ kty, crv, x }) => ({ kty, crv, x }) as JWK)
  const keyid = `${authority}#${await calculateJwkThumbprint(publicJwk)}`
  return {
    created,
    keyid,
    key,
    kind: 'Ed25519',
    authority,
    jwks: { keys: [{ ...publicJwk, kid: keyid, alg: 'EdDSA', use: 'sig' }] },
    signJwt: (claims, { issuedAt, expiresAt }) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'EdDSA', typ: 'JWT', kid: keyid })
        .setIssuedAt(Math.floor(issuedAt))
        .setExpirationTime(Math.floor(expiresAt))
        .sign(key),
  }
}

function readOrCreate(file: string): { text: string; created: boolean } {
  try {
    return { text: readFileSync(file, 'utf8'), created: false }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const text = generateSigningKey()
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  writeFileSync(file, text, { mode: 0o600, flag: 'wx' })
  return { text, created: true }
}

function importPrivateKey(text: string, file: string): KeyObject {
  try {
    const key = createPrivateKey({ key: JSON.parse(text), format: 'jwk' })
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {
    // The reason would quote the file; what is expected says enough.
  }
  throw new Error(`${file} must hold an Ed25519 private JWK (make one with: ocm-gateway keys generate)`)
}
