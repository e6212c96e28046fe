import type { KeyObject } from 'node:crypto'
import { base64url, CompactSign } from 'jose'
import { START } from './fixtures.ts'

export interface Minting {
  readonly key: KeyObject | Uint8Array
  readonly kid: string
  readonly alg: string
  /** Members of the header; `undefined` leaves one out. */
  readonly header?: Readonly<Record<string, unknown>>
  /** Claims; `undefined` leaves one out. */
  readonly claims?: Readonly<Record<string, unknown>>
}

/** The claims of an access token of a current Nextcloud. */
export const CLAIMS = {
  iss: 'https://nextcloud1.docker',
  sub: 'alice',
  aud: 'bob@https://nextcloud2.docker/',
  client_id: '42',
  iat: START,
  exp: START + 3600,
  jti: 'a1B2c3D4e5F6g7H8',
}

function headerOf({ kid, alg, header }: Minting): Record<string, unknown> {
  return { typ: 'at+jwt', alg, kid, ...header }
}

/** A token that really is signed with its key. */
export function mint(minting: Minting): Promise<string> {
  const payload = JSON.stringify({ ...CLAIMS, ...minting.claims })
  const crit = { ocm: true }
  return new CompactSign(Buffer.from(payload))
    .setProtectedHeader(JSON.parse(JSON.stringify(headerOf(minting))))
    .sign(minting.key, { crit })
}

/** A token with any header and any signature. */
export function forge(header: unknown, claims: unknown, signature: Uint8Array | string = ''): string {
  return [JSON.stringify(header), JSON.stringify(claims), signature].map((part) => base64url.encode(part)).join('.')
}
