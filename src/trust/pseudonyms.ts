import { createHmac, hkdfSync, type KeyObject } from 'node:crypto'
import { formatOcmAddress, parseOcmAddress } from '../core/ocm-address.ts'

const PURPOSE = 'ocm-webapp-gateway pseudonyms, version 1'
const BYTES = 15

/**
 * Names for people in logs: the same person has the same one as long as our signing key is the same, and nobody without
 * that key finds out who it is. `alice@cloud.example.org` → `~pX5…@cloud.example.org`: the cloud stays.
 *
 * HMAC-SHA256, 120 bits of it, under a key that HKDF-SHA256 (RFC 5869) derives from the private Ed25519 key’s 32 bytes.
 */
export function createPseudonyms(privateKey: KeyObject): (name: string) => string {
  const seed = Buffer.from(privateKey.export({ format: 'jwk' }).d ?? '', 'base64url')
  const key = Buffer.from(hkdfSync('sha256', seed, '', PURPOSE, 32))
  return (name) => {
    const address = parseOcmAddress(name)
    const canonical = address === undefined ? name : formatOcmAddress(address)
    const digest = createHmac('sha256', key).update(canonical).digest().subarray(0, BYTES).toString('base64url')
    return address === undefined ? `~${digest}` : `~${digest}@${address.authority}`
  }
}
