import { createCipheriv, createDecipheriv, hkdfSync, type KeyObject, randomBytes } from 'node:crypto'

/** Keeps secrets of ours unreadable and unchangeable where others may look: in the store. */
export interface Sealer {
  /** @param context what the text belongs to; it opens with the very same context only */
  seal(text: string, context: string): string
  /** @returns `undefined` when it was sealed under another key or for another context, or was changed since */
  open(sealed: string, context: string): string | undefined
}

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const PURPOSE = 'ocm-webapp-gateway sealed data, version 1'

/**
 * A sealer whose key exists while our signing key does: AES-256-GCM (random nonce, the context as associated data) under
 * a key that HKDF-SHA256 (RFC 5869) derives from the private Ed25519 key’s 32 bytes.
 *
 * @param further keys of ours under which it may have been sealed as well, while they are exchanged
 *
 * Does NOT keep anyone from putting an older sealed text of the same context back in its place.
 */
export function createSealer(privateKey: KeyObject, further: readonly KeyObject[] = []): Sealer {
  const keys = [privateKey, ...further].map(derive)
  const [own] = keys as [Buffer]

  return {
    seal(text, context) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(CIPHER, own, nonce, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(context))
      const ciphertext = [cipher.update(text, 'utf8'), cipher.final()]
      return Buffer.concat([nonce, ...ciphertext, cipher.getAuthTag()]).toString('base64url')
    },
    open(sealed, context) {
      const bytes = Buffer.from(sealed, 'base64url')
      if (bytes.length < NONCE_BYTES + TAG_BYTES) return undefined
      return keys.map((key) => unseal(bytes, key, context)).find((text) => text !== undefined)
    },
  }
}

function derive(privateKey: KeyObject): Buffer {
  const seed = Buffer.from(privateKey.export({ format: 'jwk' }).d ?? '', 'base64url')
  return Buffer.from(hkdfSync('sha256', seed, '', PURPOSE, 32))
}

function unseal(bytes: Buffer, key: Buffer, context: string): string | undefined {
  const nonce = bytes.subarray(0, NONCE_BYTES)
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(context))
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
  try {
    return decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
  } catch {
    return undefined
  }
}
