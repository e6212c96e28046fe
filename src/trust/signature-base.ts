import { type InnerList, type Parameters, serializeInnerList, serializeItem } from 'structured-headers'

/** A request as the signature rules see it. `headers` are name, value pairs as received, in order, duplicates kept. */
export interface SignedMessage {
  readonly method: string
  /** The absolute URL that the client called, as it called it. */
  readonly targetUri: string
  readonly headers: readonly (readonly [name: string, value: string])[]
}

/** A covered component cannot be resolved: unknown, repeated, with parameters we do not implement, or not in the message. */
export class ComponentError extends Error {
  override readonly name = 'ComponentError'
}

/** The message split once, so that no component parses the URL again. */
interface Parts extends SignedMessage {
  readonly url: URL
  /** Path and query exactly as called (RFC 9421 §2.2.5, origin-form). */
  readonly requestTarget: string
}

const DERIVED: Record<string, (parts: Parts) => string> = {
  '@method': ({ method }) => method,
  '@target-uri': ({ targetUri }) => targetUri,
  '@authority': ({ url }) => url.host,
  '@scheme': ({ url }) => url.protocol.slice(0, -1),
  '@request-target': ({ requestTarget }) => requestTarget,
  '@path': ({ requestTarget }) => requestTarget.replace(/\?.*$/s, '') || '/',
  '@query': ({ requestTarget }) =>
    requestTarget.includes('?') ? requestTarget.slice(requestTarget.indexOf('?')) : '?',
}

/**
 * The signature base of RFC 9421 §2.5: one line a covered component, then `@signature-params`.
 *
 * @param input the member of `Signature-Input`; its parameters are serialized in the order they came
 * @throws {ComponentError}
 *
 * Of component parameters only `;name` of `@query-param` (§2.2.8) exists here; `;sf`, `;bs`, `;key`, `;req` and `;tr`
 * are refused, never ignored.
 */
export function signatureBase(input: InnerList, message: SignedMessage): string {
  const url = new URL(message.targetUri)
  const afterAuthority = message.targetUri.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '')
  const parts = {
    ...message,
    url,
    requestTarget: afterAuthority.startsWith('/') ? afterAuthority : `/${afterAuthority}`,
  }
  const [components] = input
  const seen = new Set<string>()
  const lines = components.map(([name, parameters]) => {
    if (typeof name !== 'string') throw new ComponentError('a covered component is not a string')
    const identifier = serializeItem([name, parameters])
    if (seen.has(identifier)) throw new ComponentError(`${identifier} is covered twice`)
    seen.add(identifier)
    return `${identifier}: ${componentValue(name, parameters, parts)}`
  })
  return [...lines, `"@signature-params": ${serializeInnerList(input)}`].join('\n')
}

function componentValue(name: string, parameters: Parameters, parts: Parts): string {
  if (name === '@query-param') return queryParam(parameters, parts.url)
  if (parameters.size > 0) throw new ComponentError(`"${name}";${[...parameters.keys()].join(';')} is not supported`)
  if (name.startsWith('@')) {
    const derive = Object.hasOwn(DERIVED, name) ? DERIVED[name] : undefined
    if (derive === undefined) throw new ComponentError(`"${name}" is not a component of a request`)
    return derive(parts)
  }
  return fieldValue(name, parts)
}

/** RFC 9421 §2.1: each value trimmed, obsolete line folding made a space, then joined by comma and space. */
function fieldValue(name: string, { headers }: Parts): string {
  if (name !== name.toLowerCase()) throw new ComponentError(`"${name}" must be lower case`)
  const values = headers
    .filter(([key]) => key.toLowerCase() === name)
    .map(([, value]) => (value.includes('\n') ? value.replace(/[ \t]*\r?\n[ \t]+/g, ' ') : value).trim())
  if (values.length === 0) throw new ComponentError(`"${name}" is covered but not in the message`)
  return values.join(', ')
}

function queryParam(parameters: Parameters, url: URL): string {
  const name = parameters.get('name')
  if (typeof name !== 'string' || parameters.size !== 1)
    throw new ComponentError('"@query-param" needs ;name and nothing else')
  const values = [...url.searchParams].filter(([key]) => formEncode(key) === name).map(([, value]) => value)
  const [value] = values
  if (value === undefined || values.length > 1)
    throw new ComponentError(`"@query-param";name="${name}" must occur exactly once`)
  return formEncode(value)
}

/** Percent-encoding with the `application/x-www-form-urlencoded` set, space as `%20` (RFC 9421 §2.2.8). */
function formEncode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()~]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
}
