import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import { createSecureContext } from 'node:tls'
import type { Logger } from 'pino'
import { type AdminParts, createAdminApp } from './admin/admin-app.ts'
import { createMetrics } from './admin/metrics.ts'
import { serves } from './apps/matching.ts'
import { createApps } from './apps/registry.ts'
import { type ReadFile, readFromDisk } from './config/read.ts'
import type { GatewayConfig } from './config/schema.ts'
import { unavailable } from './core/errors.ts'
import { createEvents } from './core/events.ts'
import type { Line } from './core/line.ts'
import { createOutbound } from './core/outbound.ts'
import { type Clock, systemClock } from './core/time.ts'
import type { Tracing } from './core/tracing.ts'
import { createAuthenticate } from './http/authenticate.ts'
import { limitConnections } from './http/connections.ts'
import { createDraining } from './http/draining.ts'
import { createIntegrationApi } from './http/integration-api.ts'
import { createLaunch } from './http/launch.ts'
import { createOwnApp } from './http/own-app.ts'
import { createPlaces } from './http/places.ts'
import { createProxying } from './http/proxying.ts'
import { createRateLimits, createSharedRateLimits, takeIntrospection } from './http/rate-limits.ts'
import {
  BODILESS_FAST,
  createListener,
  createPublicHandlers,
  type Front,
  headersWithin,
  listen,
} from './http/server.ts'
import { createSessionRoutes } from './http/session-routes.ts'
import { createResources } from './resources/resources.ts'
import { createEndedByHand } from './sessions/ended-by-hand.ts'
import { createLiveConnections } from './sessions/live-connections.ts'
import type { EndReason, Session } from './sessions/session.ts'
import { createSessions } from './sessions/sessions.ts'
import { createTraffic } from './sessions/traffic.ts'
import { createGrants, type Grant, regrant } from './shares/grant.ts'
import { underCeiling } from './shares/permissions.ts'
import { createRecords } from './shares/records.ts'
import { openStore } from './store/open.ts'
import { createRecentWorkloads } from './store/recent-workloads.ts'
import type { ShareKey, Workload } from './store/store.ts'
import { timed } from './store/timed.ts'
import { createPseudonyms } from './trust/pseudonyms.ts'
import { createSealer } from './trust/sealer.ts'
import { loadSigningKey } from './trust/signing-key.ts'
import { createTrust } from './trust/trust.ts'

const SWEEP_MS = 1000
const HOUSEKEEPING_MS = 60_000
/** How long what goes through is counted before the audit is told. */
const TRAFFIC_SECONDS = 3600

/** What the process gives. */
interface Surroundings {
  readonly log: Logger
  readonly now: Clock
  readonly tracing?: Tracing | undefined
  /** Keys and certificates; default: from disk. */
  readonly readFile: ReadFile
  /** Of a worker: the process that started it. */
  readonly primary?: Line | undefined
}

type Given = Partial<Surroundings> & Pick<Surroundings, 'log'>

type Foundations = Awaited<ReturnType<typeof layFoundations>>

/** What outlives a reload of the configuration: the store, the sessions, the open connections, our key. */
async function layFoundations(
  config: GatewayConfig,
  { log, now, tracing, readFile, primary }: Surroundings,
  settings: () => GatewayConfig,
) {
  const { signingKeyFile, furtherSigningKeyFiles, publicUrl } = config.server
  const signingKey = await loadSigningKey(signingKeyFile, new URL(publicUrl).host, furtherSigningKeyFiles, readFile)
  const pseudonym = createPseudonyms(signingKey.key)
  const events = createEvents(log, () => (settings().audit.pseudonyms ? pseudonym : undefined))
  if (signingKey.created) events.signingKeyCreated({ file: signingKeyFile, kid: signingKey.keyid })
  const opened = await openStore(config.store, {
    now,
    primary,
    password: config.storePasswordFile,
    warn: (message) => events.storeWarning({ message }),
  })
  const store = timed(opened, (operation, seconds) => {
    events.storeOperation({ operation, seconds })
    tracing?.past(`store ${operation}`, seconds)
  })
  const live = createLiveConnections()
  const sessions = createSessions({ store, live, now, events }, () => settings().sessions)
  return {
    events,
    store,
    signingKey,
    live,
    tracing,
    sessions,
    traffic: createTraffic({ bus: store.bus, events, now }),
    now,
    rateLimits: primary === undefined ? createRateLimits(now) : createSharedRateLimits(now, primary),
    records: createRecords({ store, now }),
    recentWorkloads: createRecentWorkloads(store, now),
  }
}

/** Everything that the configuration decides, built in the order in which a request meets it. */
function buildRooms(config: GatewayConfig, foundations: Foundations) {
  const { server, sessions: settings, ocmServers, webapps } = config
  const { events, store, recentWorkloads, signingKey, live, sessions, traffic, now, rateLimits, records, tracing } =
    foundations
  const { insecureLoopback, publicUrl } = server
  const { failuresPerMinute } = server.limits
  const { cookiePrefix } = settings
  const outbound = createOutbound({ insecureLoopback, tracing })
  const { pairings, keys, credentials, discover } = createTrust({
    ocmServers,
    insecureLoopback,
    outbound,
    signingKey,
    now,
    events,
    takeIntrospection: (pairing, client) => takeIntrospection(rateLimits, pairing, client),
  })
  const grants = createGrants({ records, now })
  const sealer = createSealer(signingKey.key, signingKey.further)
  const resources = createResources({ store, sealer, outbound, discover, now })
  const tools = { outbound, store, recentWorkloads, now, events, signingKey, publicUrl, sealer, resources }
  const apps = createApps(webapps, tools)
  const places = createPlaces(server, apps)
  const { sites } = places
  const authenticate = createAuthenticate({ sessions, pairings, cookiePrefix })
  const launch = createLaunch({
    credentials,
    pairings,
    grants,
    sessions,
    resources,
    rateLimits,
    events,
    sites,
    settings: { cookiePrefix, insecureLoopback, failuresPerMinute },
  })
  const integration = createIntegrationApi({
    pairings,
    keys,
    records,
    grants,
    sessions,
    credentials,
    rateLimits,
    events,
    now,
    publicUrl,
    failuresPerMinute,
  })
  const own = createOwnApp({
    launch,
    integration,
    session: createSessionRoutes({ authenticate, sessions, cookiePrefix, events }),
    jwks: signingKey.jwks,
    limits: server.limits,
    https: publicUrl.startsWith('https:'),
    events,
  })
  const proxying = new Map(
    sites.map((site) => [
      site.app.webapp.name,
      createProxying(site, { authenticate, sessions, live, traffic, events, cookiePrefix, tracing }),
    ]),
  )
  const { trustedProxies, limits } = server
  const front: Front = { places, own, proxying, trustedProxies, requestTimeout: limits.requestTimeout }
  return {
    front,
    apps,
    resources,
    /** Waits for what is under way, unless it is the end. */
    close: (last = false) =>
      Promise.all([
        last ? outbound.destroy() : outbound.close(),
        ...[...proxying.values()].map((each) => each.close()),
      ]),
  }
}

/** The whole house in one process: what serves, and the admin listener beside it. @throws {Error} as `startServing` */
export async function startGateway(initial: GatewayConfig, given: Given) {
  await using opened = new AsyncDisposableStack()
  const serving = await startServing(initial, given)
  opened.use(serving)
  const admin = await startAdmin(initial, serving)
  const { url, events } = serving
  events.listening({ url, adminUrl: admin.url })
  opened.move()
  return {
    ...serving,
    adminUrl: admin.url,
    async close(): Promise<void> {
      await serving.close()
      await admin.close()
    },
  }
}

/** @throws {Error} when the address cannot be had */
export async function startAdmin({ server: { adminListen } }: GatewayConfig, parts: AdminParts) {
  const admin = createListener(createAdminApp(parts))
  const url = urlOf('http', await listen(admin, adminListen))
  return { url, close: () => closeServer(admin) }
}

/** What takes effect at the next start only stays as it was at the start. */
export function asStarted(next: GatewayConfig, { server, store, storePasswordFile }: GatewayConfig): GatewayConfig {
  const { listen, signingKeyFile, furtherSigningKeyFiles } = server
  const tls = server.tls && (next.server.tls ?? server.tls)
  const lasting = { listen, signingKeyFile, furtherSigningKeyFiles, tls }
  return { ...next, store, storePasswordFile, server: { ...next.server, ...lasting } }
}

/**
 * All that serves, built in order and listening: read this first.
 *
 * @throws {Error} when the store, the key or an address cannot be had; what was opened before is closed
 */
export async function startServing(initial: GatewayConfig, given: Given) {
  await using opened = new AsyncDisposableStack()
  let config = initial
  const surroundings: Surroundings = { now: systemClock, readFile: readFromDisk, ...given }
  const { now, readFile, tracing } = surroundings
  const foundations = await layFoundations(config, surroundings, () => config)
  const { events, store, live, sessions, traffic } = foundations
  opened.defer(() => store.close())
  opened.defer(() => traffic.tell(0))
  let rooms = buildRooms(config, foundations)
  opened.defer(async () => void (await rooms.close(true)))

  const appOf = (webapp: string) => rooms.apps.find((app) => app.webapp.name === webapp)
  const release = async (session: Session) => {
    const { grant } = session
    if ((await foundations.records.find(grant)) === 'revoked') await rooms.resources.forget(grant)
    if (!(await sessions.isOpen(session))) await appOf(session.webapp)?.release(session)
  }
  const releaseSoon = (session: Session) =>
    void release(session).catch((err) => events.unexpected({ where: 'release', err }))
  sessions.onEnd(releaseSoon)
  const endedByHand = createEndedByHand({ notes: store.notes, now })
  const releaseEndedByHand = async () => {
    for (const session of await endedByHand.take()) releaseSoon(session)
  }
  const isClaimed = async ({ webapp, name, ...key }: Workload) =>
    (await sessions.ofShare(key)).some((session) => session.webapp === webapp && session.scope.includes(`/${name}/`))

  /** What a reload takes away, and what a crash in the middle of a revocation left, ends now and not with the next request. */
  const judge = async ({ webapp, grant }: Session): Promise<Grant | EndReason> => {
    const { senderDomain, shareId } = grant
    const pairing = config.ocmServers.find(({ domain }) => domain === senderDomain)
    const configured = config.webapps.find(({ name }) => name === webapp)
    if (pairing === undefined || configured === undefined || !serves(configured, senderDomain)) return 'unpaired'
    if ((await foundations.records.find({ senderDomain, shareId })) === 'revoked') return 'revoked'
    const permissions = underCeiling(grant.share.webapp.permissions, pairing.permissions)
    return permissions.length === 0 ? 'replaced' : { ...grant, permissions }
  }
  const revise = () => sessions.revise(judge).catch((err) => events.unexpected({ where: 'revise', err }))

  /** Sessions that were opened or changed while the store did not know what a share is now. */
  const writtenAgain = new Map<string, ShareKey>()
  store.bus.subscribe((message) => {
    if (message.type === 'share.again') writtenAgain.set(JSON.stringify(message), message)
  })
  const fitSessions = async (key: ShareKey) => {
    const record = await foundations.records.find(key)
    const pairing = config.ocmServers.find(({ domain }) => domain === key.senderDomain)
    if (record === 'revoked') await sessions.endShare(key, 'revoked')
    else if (record !== undefined && pairing !== undefined)
      await sessions.reconcile(key, ({ grant }) => regrant(grant, record.share, pairing, now()))
  }
  const fitAllSessions = async () => {
    for (const [name, key] of writtenAgain) {
      writtenAgain.delete(name)
      await fitSessions(key).catch((error) => {
        writtenAgain.set(name, key)
        throw error
      })
    }
  }

  const sweep = async () => {
    await sessions.sweep()
    await releaseEndedByHand()
  }
  opened.use(every(SWEEP_MS, sweep, events))
  opened.use(every(SWEEP_MS, fitAllSessions, events))
  opened.use(every(Math.min(30_000, config.sessions.idleTimeout * 250), () => sessions.keepAlive(), events))
  const houseKeeping = async () => {
    traffic.tell(TRAFFIC_SECONDS)
    await Promise.all([store.shares.sweep(now()), store.sessions.sweep(now()), store.notes.sweep(now())])
    await Promise.all(rooms.apps.map((app) => app.sweep(isClaimed)))
  }
  opened.use(every(HOUSEKEEPING_MS, houseKeeping, events))

  const metrics = createMetrics(events, {
    sessions: () =>
      Promise.all(config.webapps.map(async ({ name }) => ({ webapp: name, count: await store.sessions.count(name) }))),
    shares: () =>
      Promise.all(config.ocmServers.map(async ({ domain }) => ({ domain, count: await store.shares.count(domain) }))),
  })
  const checks = {
    store: () => store.ping(),
    configuration: async () => {},
    accepting: async () => {
      if (draining.begun()) throw unavailable('draining', 'the gateway is shutting down')
    },
  }

  const { onRequest, onUpgrade } = createPublicHandlers(() => rooms.front, events, tracing)
  const { server: settings } = config
  const options = { ...BODILESS_FAST, ...headersWithin(settings.limits.requestTimeout) }
  const server = createListener(onRequest, settings.tls && readTls(settings.tls, readFile), options)
  const connectionRules = () => {
    const { limits, trustedProxies } = config.server
    return { perAddress: limits.connectionsPerAddress, trustedProxies }
  }
  limitConnections(server, connectionRules, events)
  server.on('upgrade', onUpgrade)
  const draining = createDraining(server)
  const url = urlOf(settings.tls ? 'https' : 'http', await listen(server, settings.listen))
  opened.defer(() => closeServer(server))
  void revise()
  void houseKeeping().catch((err) => events.unexpected({ where: 'housekeeping', err }))
  const owned = opened.move()

  return {
    url,
    events,
    checks,
    metrics,
    /**
     * Takes another configuration at once, as a whole. Store, key and addresses stay as they were.
     *
     * @throws {Error} when something in it cannot be had, such as a certificate; nothing has changed then
     */
    reload(next: GatewayConfig): void {
      const before = rooms
      const tls = next.server.tls && readTls(next.server.tls, readFile)
      createSecureContext(tls)
      rooms = buildRooms(next, foundations)
      if (tls && 'setSecureContext' in server) server.setSecureContext(tls)
      server.headersTimeout = next.server.limits.requestTimeout * 1000
      config = next
      void revise().finally(() => before.close())
    },
    /** Is not ready from now on, ends what is under way in good order, then closes everything. */
    async close(): Promise<void> {
      await draining.drain(config.server)
      for (const idHash of live.sessions()) live.cut(idHash)
      await owned.disposeAsync()
    },
    /** Closes everything at once. */
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** Work repeated until disposed; one run at a time, a failure is told and the next run comes all the same. */
function every(milliseconds: number, work: () => Promise<void>, events: ReturnType<typeof createEvents>): Disposable {
  let running = false
  const timer = setInterval(async () => {
    if (running) return
    running = true
    await work().catch((err) => events.unexpected({ where: 'timer', err }))
    running = false
  }, milliseconds)
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

function readTls({ certFile, keyFile }: { certFile: string; keyFile: string }, readFile: ReadFile) {
  return { cert: Buffer.from(readFile(certFile)), key: Buffer.from(readFile(keyFile)) }
}

function urlOf(scheme: string, { host, port }: { host: string; port: number }): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

async function closeServer(server: Server | TlsServer): Promise<void> {
  server.closeAllConnections()
  if (server.listening) await new Promise((resolve) => server.close(resolve))
}
