import { badRequest, GatewayError } from '../core/errors.ts'

/** A request target split once; what is checked is byte for byte what is forwarded. */
export interface Target {
  /** Raw, starts with `/`. */
  readonly path: string
  /** Raw, `''` or starts with `?`. */
  readonly query: string
}

const METHODS = new Set(
  'GET HEAD OPTIONS POST PUT PATCH DELETE PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH'.split(' '),
)

/**
 * @throws {GatewayError} 405 `method_refused` for CONNECT, TRACE and whatever else no webapp needs; the parser has already
 * refused what is no token, or lower case
 */
export function checkMethod(method: string): void {
  if (!METHODS.has(method)) throw new GatewayError(405, 'method_refused', `The method ${method} is not served.`)
}

/**
 * Splits a request target (RFC 9112 §3.2.1, origin-form only) and refuses what two parsers could read differently.
 *
 * @throws {GatewayError} 400 `target_malformed`: absolute-form, fragment, raw backslash, control characters, bytes that are
 * not ASCII, malformed or NUL escapes, or a dot segment in any spelling (`..`, `%2e%2e`, `..;x`, `..%2f`)
 */
export function parseTarget(raw: string): Target {
  const question = raw.indexOf('?')
  const path = question === -1 ? raw : raw.slice(0, question)
  const query = question === -1 ? '' : raw.slice(question)
  if (!raw.startsWith('/')) throw malformed('is not a path')
  if (/[^\x21-\x7e]|[#\\]/.test(raw))
    throw malformed('has a fragment, a backslash or a character that must be percent-encoded')
  if (path.includes('%') || path.includes('/.')) checkSegments(path)
  return { path, query }
}

function checkSegments(path: string): void {
  if (/%(?![0-9a-fA-F]{2})/.test(path)) throw malformed('has a malformed escape')
  const decoded = path.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  if (decoded.includes('\0')) throw malformed('has a NUL')
  if (/[/\\]\.{1,2}(?:[/\\;]|$)/.test(decoded)) throw malformed('has a dot segment')
}

function malformed(what: string): GatewayError {
  return badRequest('target_malformed', `The request target ${what}.`)
}

/**
 * Refuses an encoded slash or backslash, or an empty segment, in a path that falls into no scope: what it would fall into
 * depends on who reads it.
 *
 * @throws {GatewayError} 400 `target_ambiguous`
 */
export function checkScopeDeciding(path: string): void {
  if (/%2f|%5c|\/\//i.test(path))
    throw badRequest('target_ambiguous', 'The path has an encoded slash or an empty segment where it may not.')
}

/**
 * Percent-decoded as UTF-8, for rules and messages. A byte that is no UTF-8 becomes U+FFFD, so that it does not keep the rest
 * from being decoded and a rule from matching. Never forwarded.
 */
export function decodePath(path: string): string {
  if (/^[\x21-\x24\x26-\x7e]*$/.test(path)) return path
  const bytes = path.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** The query without some parameters, the others byte for byte as they were. */
export function dropQueryParameters(query: string, names: readonly string[]): string {
  if (names.length === 0 || query === '') return query
  const kept = query
    .slice(1)
    .split('&')
    .filter((pair) => !names.includes(decodePath((pair.split('=')[0] ?? '').replaceAll('+', ' '))))
  return kept.length === 0 ? '' : `?${kept.join('&')}`
}
