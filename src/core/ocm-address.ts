/** An OCM address `id@host[:port][/webroot]`, its host part canonical. */
export interface OcmAddress {
  /** Everything before the last `@`, byte for byte; it may contain `@` itself. */
  readonly id: string
  /** `host[:port]`: lower case, the default port 443 dropped. */
  readonly authority: string
  /** The webroot, `''` or `/nextcloud`, without a trailing slash. */
  readonly webroot: string
}

const NAME = String.raw`[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*`
const AUTHORITY = new RegExp(String.raw`^(${NAME}|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$`, 'i')

/**
 * The canonical form of `host[:port]`: lower case, the default port 443 dropped.
 *
 * @returns `undefined` when the text is anything else: userinfo, a path, an empty label, a port that cannot be
 */
export function canonicalAuthority(text: string): string | undefined {
  if (text.length > 300) return undefined
  const [, written, portText] = AUTHORITY.exec(text) ?? []
  if (written === undefined) return undefined
  const host = written.toLowerCase()
  if (portText === undefined) return host
  const port = Number(portText)
  if (port < 1 || port > 65_535) return undefined
  return port === 443 ? host : `${host}:${port}`
}

/** The host name of a canonical authority: no port, no brackets. */
export function hostnameOf(authority: string): string {
  return authority.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
}

/**
 * Reads an OCM address. The identifier ends at the last `@`; in the host part a stray `https://` or `http://` in front
 * and a trailing `/` (both occur on the wire: `bob@https://bob.example/`) are dropped.
 *
 * @returns `undefined` when there is no identifier or no host
 *
 * Does NOT check that the identifier exists anywhere, or that the host is anyone's.
 */
export function parseOcmAddress(text: string): OcmAddress | undefined {
  if (text.length > 1024) return undefined
  const at = text.lastIndexOf('@')
  const id = text.slice(0, at)
  const host = text.slice(at + 1).replace(/^https?:\/\//i, '')
  const slash = host.indexOf('/')
  const authority = canonicalAuthority(slash === -1 ? host : host.slice(0, slash))
  if (at < 1 || authority === undefined) return undefined
  const webroot = slash === -1 ? '' : host.slice(slash).replace(/\/+$/, '')
  return { id, authority, webroot }
}

export function formatOcmAddress({ id, authority, webroot }: OcmAddress): string {
  return `${id}@${authority}${webroot}`
}

/** Same person: identifier byte for byte, authority, and webroot. */
export function sameAddress(a: OcmAddress, b: OcmAddress): boolean {
  return a.id === b.id && a.authority === b.authority && a.webroot === b.webroot
}
