import { isLoopbackHost } from '../core/loopback.ts'
import { canonicalAuthority, hostnameOf, parseOcmAddress } from '../core/ocm-address.ts'
import type { Share } from '../shares/share.ts'
import type { Pairing } from '../trust/pairings.ts'

/** What the Receiving Server of a verified token may do with our pages. */
export interface Receiver {
  /** Its origins, and those that the pairing adds. */
  readonly origins: readonly string[]
}

/** The Receiving Server is the host of `aud`; http only for loopback hosts in `insecureLoopback`. */
export function receiverOf(aud: string, pairing: Pairing, insecureLoopback: boolean): Receiver {
  const authority = parseOcmAddress(aud)?.authority
  if (authority === undefined) return { origins: [] }
  const local = insecureLoopback && isLoopbackHost(hostnameOf(authority))
  return { origins: [...(local ? [`http://${authority}`] : []), `https://${authority}`, ...pairing.receiverOrigins] }
}

/** `frame-ancestors` sources for a share: none when it may not be shown in an iframe. */
export function frameAncestorsOf(receiver: Receiver, { webapp }: Share): readonly string[] {
  return webapp.targets === undefined || webapp.targets.includes('iframe') ? receiver.origins : []
}

/**
 * Whether an `expired_session_redirect_uri` leads to the Receiving Server, so that it is no open redirect: an absolute URL
 * whose origin is one of the receiver’s, of printable ASCII, without userinfo, and without anything that two URL parsers
 * read differently.
 */
export function isReceiverUri(uri: string, { origins }: Receiver): boolean {
  if (uri.length > 2048 || !/^https?:\/\/[!-?A-[\]-~]+$/i.test(uri) || !URL.canParse(uri)) return false
  const { protocol, host, username, password } = new URL(uri)
  const authority = canonicalAuthority(host)
  return username + password === '' && authority !== undefined && origins.includes(`${protocol}//${authority}`)
}
