import type { ForwardPolicy, Mount } from '../apps/app.ts'
import { remembered } from '../core/remembered.ts'
import { connectionNamed } from './request-headers.ts'

export interface ResponseRules {
  readonly policy: ForwardPolicy
  /** Headers that we add, in place of the app’s of the same name. Names lower case. */
  readonly added: Readonly<Record<string, string>> | undefined
  readonly mount: Mount
  /** Base path `B` of the webapp. */
  readonly base: string
  /** Origins that mean the app itself: `http://hub:8000`, and the Host we send it. */
  readonly upstreamOrigins: readonly string[]
  readonly publicOrigin: string
  /** The sources of `frame-ancestors`; empty: `'none'`. */
  readonly frameAncestors: readonly string[]
  /** Cookies whose name starts so are ours: no app sets them. */
  readonly cookiePrefix: string
  /** The app is shown in a frame: its cookies are third-party cookies. */
  readonly framed: boolean
  /** Where a `Location` among `policy.endedLocations` leads instead. */
  readonly endedPage: string
}

/** What would give a share’s content power over more than its own path, or beyond its own end. */
const OVER_THE_ORIGIN = 'service-worker-allowed clear-site-data report-to reporting-endpoints nel'
const HOP_BY_HOP =
  'connection keep-alive proxy-connection proxy-authenticate te trailer transfer-encoding upgrade x-frame-options'
const DROPPED = new Set(`${OVER_THE_ORIGIN} ${HOP_BY_HOP}`.split(' '))

/**
 * The headers that the browser receives: the app’s, less what is the connection’s, with framing, cookies and URLs made to fit
 * the public place.
 *
 * @param raw name, value, name, value, as received
 * @returns the same shape
 */
export function responseHeaders(raw: readonly string[], rules: ResponseRules): string[] {
  const named = connectionNamed(raw)
  const headers: string[] = []
  let policySeen = false
  let referrerSeen = false
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
    const lower = name.toLowerCase()
    if (
      DROPPED.has(lower) ||
      named?.has(lower) ||
      (rules.added !== undefined && Object.hasOwn(rules.added, lower)) ||
      rules.policy.dropResponseHeaders.includes(lower)
    )
      continue
    switch (lower) {
      case 'content-security-policy':
        policySeen = true
        headers.push(name, framePolicy(value, rules.frameAncestors))
        break
      case 'referrer-policy':
        referrerSeen = true
        headers.push(name, value)
        break
      case 'set-cookie':
        if (rules.policy.cookies && !isOurs(value, rules)) headers.push(name, appCookie(value, rules))
        break
      case 'location':
        headers.push(name, publicLocation(value, rules))
        break
      case 'content-location':
        headers.push(name, publicUrl(value, rules))
        break
      case 'refresh':
        headers.push(
          name,
          value.replace(/(url\s*=\s*["']?)([^"']*)/i, (_, lead: string, url: string) => lead + publicUrl(url, rules)),
        )
        break
      case 'link':
        headers.push(
          name,
          value.replace(/<([^>]*)>/g, (_, url: string) => `<${publicUrl(url, rules)}>`),
        )
        break
      default:
        headers.push(name, value)
    }
  }
  if (!policySeen) headers.push('content-security-policy', frameAncestorsDirective(rules.frameAncestors))
  for (const name in rules.added) headers.push(name, rules.added[name] ?? '')
  if (!referrerSeen) headers.push('referrer-policy', 'no-referrer')
  return headers
}

/** Made once for each list: a session keeps its own. */
export const frameAncestorsDirective = remembered(
  (sources: readonly string[]) => `frame-ancestors ${sources.length === 0 ? "'none'" : sources.join(' ')}`,
)

/** A policy list (CSP 3 §2.2): in each policy `frame-ancestors` is ours, reports stay with the app’s origin, the rest stays. */
function framePolicy(value: string, frameAncestors: readonly string[]): string {
  const policies = value.split(',').map((policy) => {
    const directives = policy.split(';').map((directive) => directive.trim())
    const kept = directives.filter(
      (directive) => directive !== '' && !/^(frame-ancestors|report-uri|report-to)(\s|$)/i.test(directive),
    )
    return [...kept, frameAncestorsDirective(frameAncestors)].join('; ')
  })
  return policies.join(', ')
}

function isOurs(cookie: string, { cookiePrefix }: ResponseRules): boolean {
  return cookie.trimStart().toLowerCase().startsWith(`${cookiePrefix.toLowerCase()}-`)
}

/** `Domain` is dropped, a `Path` outside the app becomes the app’s; in a frame only CHIPS cookies are stored. */
function appCookie(value: string, { mount, base, framed }: ResponseRules): string {
  const [pair = '', ...attributes] = value.split(';').map((part) => part.trim())
  const ours = /^(domain|path)(=|$)/i
  const third = /^(secure|samesite|partitioned)(=|$)/i
  const kept = attributes.filter(
    (attribute) => attribute !== '' && !ours.test(attribute) && !(framed && third.test(attribute)),
  )
  const path = attributes.findLast((attribute) => /^path=/i.test(attribute))?.slice('path='.length)
  const parts = [pair, `Path=${cookiePath(path, mount, base)}`, ...kept]
  return (framed ? [...parts, 'Secure', 'SameSite=None', 'Partitioned'] : parts).join('; ')
}

function cookiePath(path: string | undefined, mount: Mount, base: string): string {
  if (path === undefined || !path.startsWith('/')) return mount.public
  const here =
    mount.public !== mount.upstream && `${path}/`.startsWith(mount.upstream) ? toPublicPath(path, mount) : path
  return here.startsWith(base) || `${here}/` === base ? here : base
}

function toPublicPath(path: string, { public: publicPrefix, upstream }: Mount): string {
  if (path.startsWith(upstream)) return publicPrefix + path.slice(upstream.length)
  return `${path}/` === upstream ? publicPrefix : path
}

function publicLocation(value: string, rules: ResponseRules): string {
  const url = publicUrl(value, rules)
  const path = url.startsWith(`${rules.publicOrigin}/`) ? url.slice(rules.publicOrigin.length) : url
  return rules.policy.endedLocations.some((ended) => path.startsWith(ended)) ? rules.endedPage : url
}

/** A URL of the app (absolute, or a path) as the browser reaches it; anything else as it is. */
function publicUrl(value: string, { upstreamOrigins, publicOrigin, mount }: ResponseRules): string {
  const origin = upstreamOrigins.find((candidate) => value === candidate || value.startsWith(`${candidate}/`))
  if (origin !== undefined) return publicOrigin + toPublicPath(value.slice(origin.length) || '/', mount)
  return value.startsWith('/') && !value.startsWith('//') ? toPublicPath(value, mount) : value
}
