import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { RequestSigner } from '../trust/http-signature.ts'
import type { KeyKind } from '../trust/jwk.ts'

type Kind = Exclude<KeyKind, 'RSA'>

/** A key of an OCM server: signs requests as `keyid`, and tokens with the same value as `kid`. */
export interface ServerKey extends RequestSigner {
  readonly alg: string
  readonly publicJwk: Record<string, unknown>
}

export type Keyring = ReturnType<typeof createKeyring>

const KINDS: Record<
  Kind,
  { alg: string; name: string; generate: () => { publicKey: KeyObject; privateKey: KeyObject } }
> = {
  'P-256': {
    alg: 'ES256',
    name: 'ecdsa-p256-sha256',
    generate: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  },
  'P-384': {
    alg: 'ES384',
    name: 'ecdsa-p384-sha384',
    generate: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  },
  Ed25519: { alg: 'EdDSA', name: 'ed25519', generate: () => generateKeyPairSync('ed25519') },
}

/**
 * The keys of one server, named as Nextcloud names them: `<issuer>/ocm#ecdsa-p256-sha256-1`. The newest one signs.
 *
 * @param issuer `https://host[:port]`
 */
export function createKeyring(issuer: string) {
  const keys: ServerKey[] = []
  const withheld = new Set<string>()
  const made: Record<Kind, number> = { 'P-256': 0, 'P-384': 0, Ed25519: 0 }

  function add(kind: Kind = 'P-256'): ServerKey {
    const { alg, name, generate } = KINDS[kind]
    const { publicKey, privateKey } = generate()
    made[kind] += 1
    const keyid = `${issuer}/ocm#${name}-${made[kind]}`
    const publicJwk = { ...publicKey.export({ format: 'jwk' }), kid: keyid, alg, use: 'sig' }
    const key = { keyid, kind, alg, key: privateKey, publicJwk }
    keys.push(key)
    return key
  }

  add()
  return {
    /** Makes a new key, which signs from now on. */
    add,
    /** Signs with it no longer and publishes it no longer. */
    drop(key: ServerKey): void {
      keys.splice(keys.indexOf(key), 1)
    },
    /** Keeps signing with it, and does not publish it. */
    withhold(key: ServerKey): void {
      withheld.add(key.keyid)
    },
    get current(): ServerKey {
      const newest = keys.at(-1)
      if (newest === undefined) throw new Error('every key was dropped')
      return newest
    },
    /** RFC 7517 §5. */
    jwks: () => ({ keys: keys.filter(({ keyid }) => !withheld.has(keyid)).map(({ publicJwk }) => publicJwk) }),
  }
}
