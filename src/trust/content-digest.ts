import { createHash } from 'node:crypto'
import { parseDictionary } from 'structured-headers'
import { unauthorized } from '../core/errors.ts'

/** The algorithms of RFC 9530 §5 that are still safe, under their structured-field names. */
const ALGORITHMS: Record<string, string> = { 'sha-256': 'sha256', 'sha-512': 'sha512' }

/**
 * Checks a `Content-Digest` against the body. Every digest with a known algorithm must match; unknown ones are ignored.
 *
 * @throws {GatewayError} 401 `digest_malformed`, `digest_unsupported` (none is known) or `digest_mismatch`
 * @see RFC 9530 §2
 *
 * Does NOT check that the field is covered by a signature.
 */
export function verifyContentDigest(field: string, body: Uint8Array): void {
  let known = 0
  for (const [name, member] of parseField(field)) {
    const hash = Object.hasOwn(ALGORITHMS, name) ? ALGORITHMS[name] : undefined
    if (hash === undefined) continue
    known += 1
    const [value] = member
    const actual = createHash(hash).update(body).digest()
    if (!(value instanceof ArrayBuffer) || !actual.equals(new Uint8Array(value))) {
      throw unauthorized('digest_mismatch', `The Content-Digest (${name}) does not match the body.`)
    }
  }
  if (known === 0) throw unauthorized('digest_unsupported', 'The Content-Digest has neither sha-256 nor sha-512.')
}

/** The `Content-Digest` of a body, sha-256. */
export function contentDigest(body: Uint8Array): string {
  return `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
}

function parseField(field: string) {
  try {
    return parseDictionary(field)
  } catch (cause) {
    throw unauthorized('digest_malformed', 'The Content-Digest is not a structured-field dictionary (RFC 9530).', {
      cause,
    })
  }
}
