import type { App } from '../apps/app.ts'
import type { ServerConfig } from '../config/schema.ts'
import { badRequest, misdirected, notFound } from '../core/errors.ts'
import { checkScopeDeciding, type Target } from '../proxy/target.ts'

/** What the gateway itself answers, by name. */
export type Operation =
  | 'jwks'
  | 'liveness'
  | 'shares'
  | 'revoke'
  | 'close'
  | 'launch'
  | 'starting'
  | 'starting-events'
  | 'session'
  | 'status'
  | 'logout'
  | 'expired'
  | 'answer'

/** One webapp at its public place; everything that the configuration decides, decided once. */
export interface Site {
  readonly app: App
  /** Base path `B`, ends in `/`. */
  readonly base: string
  readonly origin: string
  /** As browsers send it in `Host`. */
  readonly host: string
}

/** Where a request belongs. */
export type Place =
  | {
      readonly kind: 'own'
      readonly operation: Operation
      readonly site?: Site
      readonly scope?: string
      readonly suffix?: string
    }
  | { readonly kind: 'app'; readonly site: Site; readonly scope: string }
  /** Below `B`, but in nobody’s scope. */
  | { readonly kind: 'outside'; readonly site: Site }
  /** Answered by the kind itself, without a session’s cookie. */
  | { readonly kind: 'host'; readonly site: Site }

export type Places = ReturnType<typeof createPlaces>

const HOST = /^(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/
const SCOPE_OPERATIONS: Record<string, Operation> = {
  starting: 'starting',
  'starting/events': 'starting-events',
  session: 'session',
  status: 'status',
  logout: 'logout',
}

/** Maps (host, path) to what answers there: an exact, lower-cased host first, then whole path segments. */
export function createPlaces(server: ServerConfig, apps: readonly App[]) {
  const gateway = new URL(server.publicUrl)
  const sites = apps.map((app): Site => {
    const { pathname, origin, host } = new URL(app.webapp.publicUrl)
    return { app, base: pathname, origin, host }
  })
  const hosts = createHosts(gateway, sites)
  const own = new Map<string, Operation>([
    ['/.well-known/jwks.json', 'jwks'],
    [server.integrationApi, 'liveness'],
    [`${server.integrationApi}/`, 'liveness'],
    ...(['shares', 'revoke', 'close'] as const).map((name) => [`${server.integrationApi}/${name}`, name] as const),
  ])

  function below(site: Site, path: string): Place {
    const { app, base } = site
    const launch = launchSuffix(site, path)
    if (launch !== undefined) return { kind: 'own', operation: 'launch', site, suffix: launch }
    if (path.startsWith('.ocm/expired', base.length) && path.length === base.length + '.ocm/expired'.length)
      return { kind: 'own', operation: 'expired', site }
    const scope = app.scopeOf(path)
    if (scope === undefined) return { kind: 'outside', site }
    if (!(path.startsWith('.ocm/', scope.length) && path.startsWith(scope))) return { kind: 'app', site, scope }
    const name = path.slice(scope.length + '.ocm/'.length)
    const operation = Object.hasOwn(SCOPE_OPERATIONS, name) ? SCOPE_OPERATIONS[name] : undefined
    if (operation !== undefined) return { kind: 'own', operation, site, scope }
    if (app.answer === undefined) throw notFound('no_such_page', 'There is nothing at this address.')
    return { kind: 'own', operation: 'answer', site, scope, suffix: name }
  }

  return {
    sites,
    /**
     * @throws {GatewayError} 400 `host_malformed`, 421 `host_unknown`, 404 `no_such_page`, 400 `target_ambiguous`
     */
    find(host: string | undefined, { path }: Target): Place {
      const here = (host !== undefined && hosts.get(host)) || hosts.get(canonicalHost(host))
      if (here === undefined) throw misdirected('host_unknown', 'This gateway does not serve that host.')
      for (const { base, site } of here.apps) if (path.startsWith(base)) return { kind: 'host', site }
      const operation = here.isGateway ? own.get(path) : undefined
      if (operation !== undefined) return { kind: 'own', operation }
      for (const site of here.sites) {
        const alias = site.app.webapp.launchAliases.find((at) => path === at || path.startsWith(`${at}/`))
        if (alias !== undefined) return { kind: 'own', operation: 'launch', site, suffix: path.slice(alias.length + 1) }
      }
      const site = here.sites.find(({ base }) => path.startsWith(base))
      const place = site === undefined ? undefined : below(site, path)
      if (place === undefined || place.kind === 'outside') checkScopeDeciding(path)
      if (place === undefined) throw notFound('no_such_page', 'There is nothing at this address.')
      return place
    },
  }
}

/** `B.ocm/open` → `''`, `B.ocm/open/a/b` → `a/b`, anything else → `undefined`. */
function launchSuffix({ base }: Site, path: string): string | undefined {
  if (!path.startsWith('.ocm/open', base.length)) return undefined
  const rest = path.slice(base.length + '.ocm/open'.length)
  if (rest === '') return ''
  return rest.startsWith('/') ? rest.slice(1) : undefined
}

/** What is served at one host. */
interface Host {
  isGateway: boolean
  readonly sites: Site[]
  /** Where a kind answers programs itself. */
  readonly apps: { readonly base: string; readonly site: Site }[]
}

/** Every host that is served, by all its spellings in lower case. */
function createHosts(gateway: URL, sites: readonly Site[]): ReadonlyMap<string, Host> {
  const hosts = new Map<string, Host>()
  const at = (url: URL, add: (host: Host) => void) => {
    for (const name of spellings(url)) {
      const host = hosts.get(name) ?? { isGateway: false, sites: [], apps: [] }
      hosts.set(name, host)
      add(host)
    }
  }
  at(gateway, (host) => (host.isGateway = true))
  for (const site of sites) {
    at(new URL(site.origin), ({ sites }) => sites.push(site))
    const own = site.app.host && new URL(site.app.host.url)
    if (own !== undefined) at(own, ({ apps }) => apps.push({ base: own.pathname, site }))
  }
  return hosts
}

/** @throws {GatewayError} 400 `host_malformed` */
function canonicalHost(host: string | undefined): string {
  if (host === undefined || !HOST.test(host))
    throw badRequest('host_malformed', 'The Host header is missing or malformed.')
  return host.toLowerCase()
}

/** A host as it may stand in `Host`: the default port may be given. */
function spellings({ protocol, hostname, host, port }: URL): string[] {
  return port === '' ? [host, `${hostname}:${protocol === 'https:' ? 443 : 80}`] : [host]
}
