import type { ForwardPolicy } from '../apps/app.ts'
import { badRequest } from '../core/errors.ts'

/** What the app is told of the way a request came; decided by the gateway, never by the client. */
interface Forwarded {
  /** The chain from trusted proxies, if any, then the peer. */
  readonly for: string
  readonly proto: 'http' | 'https'
  readonly host: string
  readonly prefix: string
}

export interface RequestRules {
  readonly forwarded: Forwarded
  /** The `Cookie` header less our cookies; `''`: none. */
  readonly cookies: string
  readonly policy: ForwardPolicy
  /** Headers that we add; a client’s of the same name, in any spelling, is dropped. Names lower case. */
  readonly added: Readonly<Record<string, string>>
  /** Replaces a public URL by the upstream’s: for `Destination` (RFC 4918 §10.3). */
  readonly toUpstream: (url: string) => string
}

/** RFC 9110 §7.6.1 and kin; `Expect` is answered by our own server, trailers are not forwarded. */
const HOP_BY_HOP = new Set(
  'connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade http2-settings expect host'.split(
    ' ',
  ),
)
const IDENTITY = new Set(['forwarded', 'x-real-ip', 'x-remote-user', 'remote-user'])
/** What some frameworks believe more than the request itself: permissions were decided on the request itself. */
const OVERRIDES = new Set(
  'x-http-method-override x-http-method x-method-override x-original-url x-original-method x-rewrite-url'.split(' '),
)
/** Repeated, they would mean what their first or last reader takes them for. */
const ONCE = ['host', 'authorization', 'content-length']

/** What a header name means, whoever sends it. */
interface Meaning {
  /** The same string for every request: who looks it up again does not hash it again. */
  readonly name: string
  readonly lower: string
  /** CGI-style servers read `X_OCM_User` and `X.OCM.User` as `X-OCM-User`: names are compared after folding. */
  readonly folded: string
  /** Never forwarded: the connection’s, the cookies (which are sent anew), overrides, or what could pass for ours. */
  readonly dropped: boolean
}

const MEANINGS_MAX = 1000
const REMEMBERED_NAME_MAX = 64
const meanings = new Map<string, Meaning>()

/** Clients send few different names: each spelling is looked at once. */
function meaningOf(name: string): Meaning {
  const known = meanings.get(name)
  if (known !== undefined) return known
  const lower = name.toLowerCase()
  const folded = lower.replace(/[_.]/g, '-')
  const ours = /^x-(ocm|forwarded)-/.test(folded) || IDENTITY.has(folded)
  const dropped = ours || HOP_BY_HOP.has(lower) || OVERRIDES.has(folded) || lower === 'cookie'
  const meaning = { name, lower, folded, dropped }
  if (meanings.size >= MEANINGS_MAX) meanings.clear()
  if (name.length <= REMEMBERED_NAME_MAX) meanings.set(name, meaning)
  return meaning
}

/**
 * Refuses requests whose meaning depends on which of two equal headers is read (CVE-2021-39206 and kin).
 *
 * @param raw name, value, name, value, as received
 * @throws {GatewayError} 400 `header_repeated`
 */
export function checkSingleHeaders(raw: readonly string[]): void {
  for (const once of ONCE) {
    let times = 0
    for (let index = 0; index < raw.length; index += 2) if (isNamed(raw[index], once)) times += 1
    if (times > 1) throw badRequest('header_repeated', `The request has more than one ${once} header.`)
  }
}

/** Most names differ in length already. */
function isNamed(name: string | undefined, lower: string): boolean {
  return name?.length === lower.length && name.toLowerCase() === lower
}

/**
 * The headers that the app receives: the client’s, less what is the connection’s, what could pass for ours, and our cookies;
 * then ours.
 *
 * @param raw name, value, name, value, as received
 * @returns the same shape
 */
export function requestHeaders(
  raw: readonly string[],
  { forwarded, cookies, policy, added, toUpstream }: RequestRules,
): string[] {
  const named = connectionNamed(raw)
  const headers: string[] = ['host', forwarded.host]
  for (let index = 0; index < raw.length; index += 2) {
    const value = raw[index + 1] ?? ''
    const { name, lower, folded, dropped } = meaningOf(raw[index] ?? '')
    if (dropped || Object.hasOwn(added, folded) || (lower !== folded && Object.hasOwn(added, lower))) continue
    if (named?.has(lower) || policy.dropRequestHeaders.includes(lower)) continue
    headers.push(name, lower === 'destination' ? toUpstream(value) : value)
  }
  if (policy.cookies && cookies !== '') headers.push('cookie', cookies)
  headers.push('x-forwarded-for', forwarded.for, 'x-forwarded-proto', forwarded.proto)
  headers.push('x-forwarded-host', forwarded.host, 'x-forwarded-prefix', forwarded.prefix)
  for (const name in added) headers.push(name, added[name] ?? '')
  return headers
}

/** The headers that `Connection` names: they end here, in both directions (RFC 9110 §7.6.1). */
export function connectionNamed(raw: readonly string[]): Set<string> | undefined {
  let names: Set<string> | undefined
  for (let index = 0; index < raw.length; index += 2) {
    if (!isNamed(raw[index], 'connection')) continue
    const value = (raw[index + 1] ?? '').toLowerCase()
    if (value === 'keep-alive' || value === 'close') continue
    names ??= new Set()
    for (const name of value.split(',')) names.add(name.trim())
  }
  return names
}
