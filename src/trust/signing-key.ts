import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { calculateJwkThumbprint, exportJWK, type JWK, SignJWT } from 'jose'
import { type ReadFile, readFromDisk } from '../config/read.ts'
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

/** Our key as it is loaded, with those it is being exchanged with. */
export interface LoadedKey extends SigningKey {
  readonly created: boolean
  /** Published too, and open what was sealed under them; they never sign. */
  readonly further: readonly KeyObject[]
}

/**
 * Reads the key file, or makes it when it is missing.
 *
 * @param authority our host as peers see it, with a non-default port; the `kid` is `<authority>#<RFC 7638 thumbprint>`
 * @throws {Error} when a file holds anything but an Ed25519 private JWK, or cannot be made
 */
export async function loadSigningKey(
  file: string,
  authority: string,
  furtherFiles: readonly string[] = [],
  readFile: ReadFile = readFromDisk,
): Promise<LoadedKey> {
  const { text, created } = readOrCreate(file, readFile)
  const key = importPrivateKey(text, file)
  const further = furtherFiles.map((each) => importPrivateKey(readFile(each), each))
  const keys = await Promise.all([key, ...further].map((each) => published(each, authority)))
  const keyid = keys[0]?.kid ?? ''
  return {
    created,
    keyid,
    key,
    further,
    kind: 'Ed25519',
    authority,
    jwks: { keys },
    signJwt: (claims, { issuedAt, expiresAt }) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'EdDSA', typ: 'JWT', kid: keyid })
        .setIssuedAt(Math.floor(issuedAt))
        .setExpirationTime(Math.floor(expiresAt))
        .sign(key),
  }
}

async function published(key: KeyObject, authority: string): Promise<JWK> {
  const { kty, crv, x } = await exportJWK(key)
  const publicJwk = { kty, crv, x } as JWK
  return { ...publicJwk, kid: `${authority}#${await calculateJwkThumbprint(publicJwk)}`, alg: 'EdDSA', use: 'sig' }
}

/** @throws {Error} when the file cannot be read, or holds anything but an Ed25519 private JWK */
export function readPrivateKey(file: string): KeyObject {
  return importPrivateKey(readFromDisk(file), file)
}

function readOrCreate(file: string, readFile: ReadFile): { text: string; created: boolean } {
  try {
    return { text: readFile(file), created: false }
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
