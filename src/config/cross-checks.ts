import { z } from 'zod'
import { isLoopbackHost } from '../core/loopback.ts'
import { canonicalAuthority, hostnameOf } from '../core/ocm-address.ts'
import { type Finding, formatPath, isSection, nearest, valueAt } from './messages.ts'
import { type Fields, type KindSchema, pairingSchema, serverSchema, storeUrl, webappFields } from './schema.ts'

type Path = readonly PropertyKey[]
type Report = (path: Path, message: string) => void

/**
 * The mistakes that only show when two settings are seen together, and what is allowed but risky.
 *
 * Looks at every value that is right by itself; of the others it assumes nothing, since they are reported already.
 */
export function crossCheck(document: unknown, kinds: readonly KindSchema[], fields: Fields) {
  const sketch = sketchSchema(fields, kinds).parse(document)
  const problems: Finding[] = []
  const warnings: Finding[] = []
  const problem: Report = (path, message) => problems.push({ path, message })
  checkSchemes(sketch, problem)
  checkListeners(sketch, problem)
  checkWorkers(sketch, problem)
  checkUnique(sketch, problem)
  checkReferences(sketch, problem)
  checkIntrospection(sketch, problem)
  checkIssuers(sketch, problem)
  checkPlaces(sketch, webappHosts(sketch, document, fields), problem)
  checkUpstreams(sketch, document, problem)
  checkOwners(sketch, kinds, problem)
  findSharedHosts(sketch, (path, message) => warnings.push({ path, message }))
  return { problems, warnings }
}

type Sketch = z.infer<ReturnType<typeof sketchSchema>>

/** The settings that are compared; what is missing or wrong is `undefined`. Never fails. */
function sketchSchema(fields: Fields, kinds: readonly KindSchema[]) {
  const server = serverSchema(fields).shape
  const pairing = pairingSchema(fields).shape
  const webapp = webappFields(fields)
  return section({
    server: section({
      publicUrl: ifRight(server.publicUrl),
      listen: ifRight(server.listen),
      adminListen: ifRight(server.adminListen),
      integrationApi: ifRight(server.integrationApi),
      insecureLoopback: ifRight(server.insecureLoopback),
      workers: ifRight(server.workers),
    }),
    store: ifRight(storeUrl(fields)),
    ocmServers: list(
      section({
        domain: ifRight(pairing.domain),
        keysUrl: ifRight(pairing.keysUrl),
        modes: list(ifRight(pairing.modes.unwrap().element)),
        introspection: section({ url: ifRight(fields.httpUrl), issuer: ifRight(fields.publicUrl) }),
        receiverOrigins: list(ifRight(pairing.receiverOrigins.unwrap().element)),
      }),
    ),
    webapps: list(
      section({
        name: ifRight(webapp.name),
        kind: ifRight(z.enum(kinds.map(({ kind }) => kind))),
        publicUrl: ifRight(webapp.publicUrl),
        upstream: ifRight(webapp.upstream),
        ocmServers: list(ifRight(pairing.domain)),
        launchAliases: list(ifRight(webapp.launchAliases.unwrap().element)),
      }),
    ),
  })
}

function ifRight<Schema extends z.ZodType>(schema: Schema) {
  return schema.optional().catch(undefined)
}

function section<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.preprocess((value) => (isSection(value) ? value : {}), z.object(shape))
}

function list<Item extends z.ZodType>(item: Item) {
  return z.preprocess((value) => (Array.isArray(value) ? value : []), z.array(item))
}

function checkSchemes({ server, ocmServers, webapps }: Sketch, problem: Report) {
  const check = (path: Path, url: string | undefined) => {
    if (url === undefined) return
    const { protocol, host } = new URL(url)
    if (protocol === 'https:') return
    if (!isLoopbackHost(hostnameOf(host))) {
      problem(path, `is http:// (must be https://, as ${host} is not this machine)`)
    } else if (server.insecureLoopback === false) {
      problem(path, 'is http:// (must be https://; for demos and tests, set server.insecureLoopback: true)')
    }
  }
  check(['server', 'publicUrl'], server.publicUrl)
  for (const [index, { keysUrl, introspection, receiverOrigins }] of ocmServers.entries()) {
    check(['ocmServers', index, 'keysUrl'], keysUrl)
    check(['ocmServers', index, 'introspection', 'url'], introspection.url)
    check(['ocmServers', index, 'introspection', 'issuer'], introspection.issuer)
    for (const [entry, origin] of receiverOrigins.entries()) {
      check(['ocmServers', index, 'receiverOrigins', entry], origin)
    }
  }
  for (const [index, { publicUrl }] of webapps.entries()) check(['webapps', index, 'publicUrl'], publicUrl)
}

/** An opaque credential does not say whose it is: each webapp can take such from one pairing only. */
function checkIntrospection({ ocmServers, webapps }: Sketch, problem: Report) {
  for (const [index, { modes, introspection }] of ocmServers.entries()) {
    if (modes.includes('introspected') && introspection.url === undefined) {
      problem(
        ['ocmServers', index, 'modes'],
        'permits introspected without an endpoint (add introspection: { url: … })',
      )
    }
  }
  const asked = ocmServers.filter(({ modes, introspection }) => modes.includes('introspected') && introspection.url)
  for (const [index, webapp] of webapps.entries()) {
    const named = webapp.ocmServers.filter((name) => name !== undefined)
    const owners = asked.map(({ domain }) => domain).filter((name) => named.length === 0 || named.includes(name ?? ''))
    if (owners.length < 2) continue
    problem(
      ['webapps', index, 'ocmServers'],
      `includes ${owners.join(' and ')}, which are both introspected (an opaque credential could be either’s: name one of them)`,
    )
  }
}

/** The `iss` of a JWT must tell whose it is. */
function checkIssuers({ ocmServers }: Sketch, problem: Report) {
  const at = (index: number) => ['ocmServers', index, 'introspection', 'issuer']
  const issuers = ocmServers.map(({ introspection }) => introspection.issuer)
  for (const [index, issuer] of issuers.entries()) {
    if (issuer === undefined) continue
    const { pathname, host } = new URL(issuer)
    const other = ocmServers.findIndex(({ domain }) => pathname === '/' && domain === canonicalAuthority(host))
    if (other === index) problem(at(index), 'is what it is by default (leave it out)')
    else if (other !== -1) problem(at(index), `is the name of ocmServers[${other}] (must be another server’s)`)
  }
  forRepeated(issuers, (index, first) =>
    problem(at(index), `is that of ocmServers[${first}] too (a token of it could be either’s)`),
  )
}

function checkListeners({ server: { listen, adminListen } }: Sketch, problem: Report) {
  if (!listen || !adminListen || listen.port === 0 || listen.port !== adminListen.port) return
  const everyAddress = ['0.0.0.0', '::']
  if (listen.host === adminListen.host || [listen.host, adminListen.host].some((host) => everyAddress.includes(host))) {
    problem(
      ['server', 'adminListen'],
      'takes the port of server.listen (must be another port: health and metrics are never public)',
    )
  }
}

function checkWorkers({ server, store }: Sketch, problem: Report) {
  if (store?.kind !== 'memory' || (server.workers ?? 1) === 1) return
  problem(
    ['server', 'workers'],
    `is ${server.workers}, but no worker sees what memory: keeps in another (must be 1, or the store sqlite: or redis://)`,
  )
}

function checkUnique({ ocmServers, webapps }: Sketch, problem: Report) {
  forRepeated(
    ocmServers.map(({ domain }) => domain),
    (index, first) =>
      problem(['ocmServers', index, 'domain'], `is paired already as ocmServers[${first}] (merge the two entries)`),
  )
  forRepeated(
    webapps.map(({ name }) => name),
    (index, first) =>
      problem(
        ['webapps', index, 'name'],
        `is the name of webapps[${first}] too (every webapp needs a name of its own)`,
      ),
  )
}

function forRepeated(values: (string | undefined)[], report: (index: number, first: number) => void) {
  for (const [index, value] of values.entries()) {
    const first = values.indexOf(value)
    if (value !== undefined && first !== index) report(index, first)
  }
}

function checkReferences({ ocmServers, webapps }: Sketch, problem: Report) {
  const paired = ocmServers.map(({ domain }) => domain).filter((domain) => domain !== undefined)
  // A domain that cannot be read may be the very one that is referred to.
  if (paired.length === 0 || paired.length < ocmServers.length) return
  for (const [index, webapp] of webapps.entries()) {
    for (const [entry, domain] of webapp.ocmServers.entries()) {
      if (domain === undefined || paired.includes(domain)) continue
      const meant = nearest(domain, paired)
      const remedy = meant ? `did you mean ${meant}?` : 'add it there first'
      problem(['webapps', index, 'ocmServers', entry], `${domain} is not among the domains of ocmServers (${remedy})`)
    }
  }
}

/** A part of an origin that something answers: everything below `path`, which ends in `/`. */
interface Place {
  readonly host: string
  readonly path: string
  readonly what: string
  readonly kind: 'own' | 'webapp' | 'host' | 'alias'
}

/** A place that a setting asks for, and which of the places that are taken it may share. */
interface Claim extends Place {
  readonly at: Path
  readonly mayShare: (taken: Place) => boolean
}

const INTEGRATION_OPERATIONS = ['shares', 'revoke', 'close']

/** Every path is answered by one thing only: the gateway's own endpoints, one webapp, its WOPI host, or one launch alias. */
function checkPlaces({ server, webapps }: Sketch, hosts: readonly Claim[], problem: Report) {
  const taken = ownPlaces(server)
  for (const claim of [...webapps.flatMap(webappClaim), ...hosts, ...webapps.flatMap(aliasClaims)]) {
    const other = taken.find((place) => overlap(place, claim) && !claim.mayShare(place))
    if (other) problem(claim.at, `overlaps with ${other.what} (must be a path that nothing else answers)`)
    taken.push(claim)
  }
}

function ownPlaces({ publicUrl, integrationApi }: Sketch['server']): Place[] {
  if (publicUrl === undefined) return []
  const { host } = new URL(publicUrl)
  const own = (path: string, what: string): Place => ({ host, path, what, kind: 'own' })
  const keys = own('/.well-known/jwks.json/', 'our public keys at /.well-known/jwks.json')
  return integrationApi === undefined
    ? [keys]
    : [keys, own(`${integrationApi}/`, `server.integrationApi (${integrationApi})`)]
}

function webappClaim({ publicUrl }: Sketch['webapps'][number], index: number): Claim[] {
  if (publicUrl === undefined) return []
  const { host, pathname: path } = new URL(publicUrl)
  const at = ['webapps', index, 'publicUrl']
  // An app may have the whole host: our few endpoints are answered first.
  const mayShare = (taken: Place) => path === '/' && taken.kind === 'own'
  return [{ host, path, what: formatPath(at), kind: 'webapp', at, mayShare }]
}

/** Where a webapp is the WOPI host itself, unless that is below its own publicUrl, as it is by default. */
function webappHosts({ webapps }: Sketch, document: unknown, fields: Fields): Claim[] {
  return webapps.flatMap(({ kind }, index) => {
    if (kind === undefined) return []
    const at = ['webapps', index, kind, 'hostUrl']
    const url = ifRight(fields.httpUrl).parse(valueAt(document, at))
    if (url === undefined || valueAt(document, ['webapps', index, kind, 'mode']) === 'passthrough') return []
    const { host, pathname } = new URL(url)
    const own = formatPath(['webapps', index, 'publicUrl'])
    const mayShare = (taken: Place) => taken.what === own
    return [{ host, path: `${pathname}wopi/`, what: formatPath(at), kind: 'host', at, mayShare }]
  })
}

function aliasClaims({ publicUrl, launchAliases }: Sketch['webapps'][number], index: number): Claim[] {
  if (publicUrl === undefined) return []
  const { host, pathname: base } = new URL(publicUrl)
  return launchAliases.flatMap((alias, entry) => {
    if (alias === undefined) return []
    const at = ['webapps', index, 'launchAliases', entry]
    const path = `${alias}/`
    // Inside its own webapp an alias is answered before the app, as it is meant to be; and the Integration API is a few
    // paths only, among which clouds paired with older hub packages launch too.
    const mayShare = (taken: Place) =>
      path !== taken.path &&
      path.startsWith(taken.path) &&
      (taken.kind === 'own'
        ? !INTEGRATION_OPERATIONS.some((operation) => path.startsWith(`${taken.path}${operation}/`))
        : taken.kind === 'webapp' && base.startsWith(taken.path))
    return [{ host, path, what: formatPath(at), kind: 'alias', at, mayShare }]
  })
}

function overlap(a: Place, b: Place): boolean {
  return a.host === b.host && (a.path.startsWith(b.path) || b.path.startsWith(a.path))
}

function checkUpstreams({ webapps }: Sketch, document: unknown, problem: Report) {
  for (const [index, { kind, publicUrl, upstream }] of webapps.entries()) {
    if (kind === undefined || publicUrl === undefined || upstream === undefined) continue
    const stripPath = valueAt(document, ['webapps', index, kind, 'stripPath']) ?? false
    const [ours, theirs] = [new URL(publicUrl).pathname, new URL(upstream).pathname]
    if (ours === theirs || stripPath !== false) continue
    const same = new URL(ours, upstream).href
    problem(
      ['webapps', index, 'upstream'],
      `has the path ${theirs} where publicUrl has ${ours} (write ${same}, or use kind generic with stripPath: true)`,
    )
  }
}

/** A kind that sweeps its upstream of what it does not know would sweep away what another webapp started there. */
function checkOwners({ webapps }: Sketch, kinds: readonly KindSchema[], problem: Report) {
  const owning = new Set(kinds.filter(({ ownsUpstream }) => ownsUpstream).map(({ kind }) => kind))
  const upstreams = webapps.map(({ kind, upstream }) =>
    kind && upstream && owning.has(kind) ? new URL(upstream).href : undefined,
  )
  forRepeated(upstreams, (index, first) =>
    problem(
      ['webapps', index, 'upstream'],
      `is the upstream of webapps[${first}] too (each needs one of its own, or make them one webapp)`,
    ),
  )
}

function findSharedHosts({ webapps }: Sketch, warn: Report) {
  // Cookies and browsers' notion of a site know no ports.
  const hosts = webapps.map(({ publicUrl }) => publicUrl && new URL(publicUrl).hostname)
  forRepeated(hosts, (index, first) =>
    warn(
      ['webapps', index, 'publicUrl'],
      `shares the host ${hosts[index]} with webapps[${first}]: a script in one app can act in the other (better: a host for each)`,
    ),
  )
}
