import { createHash, type KeyObject, type SignKeyObjectInput, sign } from 'node:crypto'
import type { SignedMessage } from '../../src/trust/signature-base.ts'
import { START } from './fixtures.ts'

export const FOUR = ['@method', '@target-uri', 'content-digest', 'content-length'] as const

/** What a peer signs, and how; everything has the form that OCM asks for unless said otherwise. */
export interface Signing {
  readonly keyid: string
  readonly key: KeyObject
  readonly hash?: string | null
  readonly options?: Omit<SignKeyObjectInput, 'key'>
  readonly label?: string
  readonly components?: readonly string[]
  /** The parameters of the signature as they stand in the field. */
  readonly parameters?: string
  readonly method?: string
  readonly targetUri?: string
  readonly body?: string
  /** Further fields, before the signature’s; one named here replaces ours. */
  readonly headers?: Readonly<Record<string, string>>
}

export const TARGET = 'https://apps.example.org/ocm/shares'

export function sha256Digest(body: string): string {
  return `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
}

/** A signed request, its signature base put together from text: nothing of it is made by the code under test. */
export function signedRequest(signing: Signing): { message: SignedMessage; body: Buffer; base: string } {
  const {
    keyid,
    key,
    hash = null,
    options = {},
    label = 'ocm',
    components = FOUR,
    body = '{"sender":"alice"}',
  } = signing
  const { method = 'POST', targetUri = TARGET } = signing
  const parameters = signing.parameters ?? `;created=${START};keyid="${keyid}";tag="ocm"`
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'content-digest': sha256Digest(body),
    'content-length': String(Buffer.byteLength(body)),
    ...signing.headers,
  }
  const values: Record<string, string> = { ...headers, '@method': method, '@target-uri': targetUri }
  const input = `(${components.map((name) => `"${name}"`).join(' ')})${parameters}`
  const lines = components.map((name) => `"${name}": ${values[name]}`)
  const base = [...lines, `"@signature-params": ${input}`].join('\n')
  const signature = sign(hash, Buffer.from(base), { key, ...options }).toString('base64')
  const signed = { ...headers, 'signature-input': `${label}=${input}`, signature: `${label}=:${signature}:` }
  return { message: { method, targetUri, headers: Object.entries(signed) }, body: Buffer.from(body), base }
}

/** The same message with some fields replaced, or with further ones of the same name appended. */
export function withHeaders(
  message: SignedMessage,
  replaced: Readonly<Record<string, string | undefined>>,
  appended: readonly (readonly [string, string])[] = [],
): SignedMessage {
  const kept = message.headers.filter(([name]) => !Object.hasOwn(replaced, name))
  const written = Object.entries(replaced).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return { ...message, headers: [...kept, ...written, ...appended] }
}

export function headerOf(message: SignedMessage, name: string): string {
  return message.headers.find(([key]) => key === name)?.[1] ?? ''
}
