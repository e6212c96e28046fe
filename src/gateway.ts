import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { createAdminApp } from './admin/admin-app.ts'
import { createMetrics } from './admin/metrics.ts'
import type { App, AppKind } from './apps/app.ts'
import { serves } from './apps/matching.ts'
import { appKinds } from './apps/registry.ts'
import type { GatewayConfig } from './config/schema.ts'
import { unavailable } from './core/errors.ts'
import { createEvents } from './core/events.ts'
import { createOutbound } from './core/outbound.ts'
import { type Clock, systemClock } from './core/time.ts'
import { createAuthenticate } from './http/authenticate.ts'
import { createIntegrationApi } from './http/integration-api.ts'
import { createLaunch } from './http/launch.ts'
import { createOwnApp } from './http/own-app.ts'
import { createPlaces } from './http/places.ts'
import { createProxying } from './http/proxying.ts'
import { createRateLimits } from './http/rate-limits.ts'
import { BODILESS_FAST, createListener, createPublicHandlers, type Front, listen } from './http/server.ts'
import { createSessionRoutes } from './http/session-routes.ts'
import { createLiveConnections } from './sessions/live-connections.ts'
import type { EndReason, Session } from './sessions/session.ts'
import { createSessions } from './sessions/sessions.ts'
import { createGrants, type Grant } from './shares/grant.ts'
import { underCeiling } from './shares/permissions.ts'
import { createRecords } from './shares/records.ts'
import { openStore } from './store/open.ts'
import type { Workload } from './store/store.ts'
import { timed } from './store/timed.ts'
import { createSealer } from './trust/sealer.ts'
import { loadSigningKey } from './trust/signing-key.ts'
import { createTrust } from './trust/trust.ts'

const SWEEP_MS = 1000
const HOUSEKEEPING_MS = 60_000
const DRAIN_MS = 10_000

type Foundations = Awaited<ReturnType<typeof layFoundations>>

/** What outlives a reload of the configuration: the store, the sessions, the open connections, our key. */
async function layFoundations(config: GatewayConfig, log: Logger, now: Clock, settings: () => GatewayConfig) {
  const events = createEvents(log)
  const opened = openStore(config.store, { now })
  const store = timed(opened, (operation, seconds) => events.storeOperation({ operation, seconds }))
  const { signingKeyFile, publicUrl } = config.server
  const signingKey = await loadSigningKey(signingKeyFile, new URL(publicUrl).host)
  if (signingKey.created) events.signingKeyCreated({ file: signingKeyFile, kid: signingKey.keyid })
  const live = createLiveConnections()
  const sessions = createSessions({ store, live, now, events }, () => settings().sessions)
  return {
    events,
    store,
    signingKey,
    live,
    sessions,
    now,
    rateLimits: createRateLimits(now),
    records: createRecords({ store, now }),
  }
}

/** Everything that the configuration decides, built in the order in which a request meets it. */
function buildRooms(config: GatewayConfig, foundations: Foundations) {
  const { server, sessions: settings, ocmServers, webapps } = config
  const { events, store, signingKey, live, sessions, now, rateLimits, records } = foundations
  const { insecureLoopback, publicUrl } = server
  const { failuresPerMinute } = server.limits
  const { cookiePrefix } = settings
  const outbound = createOutbound({ insecureLoopback })
  const { pairings, keys, credentials } = createTrust({
    ocmServers,
    insecureLoopback,
    outbound,
    signingKey,
    now,
    events,
    takeIntrospection: ({ domain, limits }) =>
      rateLimits.take(`introspection ${domain}`, limits.introspectionsPerMinute),
  })
  const grants = createGrants({ records, now })
  const tools = { outbound, store, now, events, signingKey, publicUrl, sealer: createSealer(signingKey.key) }
  const apps = webapps.map((webapp): App => kindOf(webapp.kind).create(webapp as never, tools))
  const places = createPlaces(server, apps)
  const { sites } = places
  const authenticate = createAuthenticate({ sessions, pairings, cookiePrefix })
  const launch = createLaunch({
    credentials,
    pairings,
    grants,
    sessions,
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
      createProxying(site, { authenticate, sessions, live, events, cookiePrefix }),
    ]),
  )
  const { trustedProxies, limits } = server
  const front: Front = { places, own, proxying, trustedProxies, requestTimeout: limits.requestTimeout }
  return {
    front,
    apps,
    /** Waits for what is under way, unless it is the end. */
    close: (last = false) =>
      Promise.all([
        last ? outbound.destroy() : outbound.close(),
        ...[...proxying.values()].map((each) => each.close()),
      ]),
  }
}

function kindOf(name: string): AppKind<never> {
  const kind = appKinds.find(({ kind }) => kind === name)
  if (kind === undefined) throw new Error(`no app kind is called ${name}`)
  return kind
}

/**
 * The whole house, built in order and listening: read this first.
 *
 * @throws {Error} when the store, the key or an address cannot be had; what was opened before is closed
 */
export async function startGateway(initial: GatewayConfig, { log, now = systemClock }: { log: Logger; now?: Clock }) {
  await using opened = new AsyncDisposableStack()
  let config = initial
  let draining = false
  const foundations = await layFoundations(config, log, now, () => config)
  const { events, store, live, sessions } = foundations
  opened.defer(() => store.close())
  let rooms = buildRooms(config, foundations)
  opened.defer(async () => void (await rooms.close(true)))

  const appOf = (webapp: string) => rooms.apps.find((app) => app.webapp.name === webapp)
  const release = async (session: Session) => {
    if (!(await sessions.isOpen(session))) await appOf(session.webapp)?.release(session)
  }
  sessions.onEnd((session) => void release(session).catch((err) => events.unexpected({ where: 'release', err })))
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

  opened.use(every(SWEEP_MS, () => sessions.sweep(), events))
  opened.use(every(Math.min(30_000, config.sessions.idleTimeout * 250), () => sessions.keepAlive(), events))
  const houseKeeping = async () => {
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
      if (draining) throw unavailable('draining', 'the gateway is shutting down')
    },
  }

  const { onRequest, onUpgrade } = createPublicHandlers(() => rooms.front, events)
  const { server: settings } = config
  const server = createListener(onRequest, settings.tls && readTls(settings.tls), BODILESS_FAST)
  const sockets = new Set<Duplex>()
  server.on('upgrade', (req, socket, head) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    onUpgrade(req, socket, head)
  })
  if (settings.tls) opened.use(reloadTls(server as TlsServer, settings.tls, events))
  const admin = createListener(createAdminApp({ checks, metrics }))
  const at = await listen(server, settings.listen)
  opened.defer(() => closeServer(server))
  const adminAt = await listen(admin, settings.adminListen)
  opened.defer(() => closeServer(admin))
  const url = urlOf(settings.tls ? 'https' : 'http', at)
  const adminUrl = urlOf('http', adminAt)
  events.listening({ url, adminUrl })
  void revise()
  void houseKeeping().catch((err) => events.unexpected({ where: 'housekeeping', err }))
  const owned = opened.move()

  return {
    url,
    adminUrl,
    events,
    /** Takes another configuration at once, as a whole. Store, key and addresses stay as they were. */
    reload(next: GatewayConfig): void {
      const before = rooms
      rooms = buildRooms(next, foundations)
      config = next
      void revise().finally(() => before.close())
    },
    /** Stops accepting, lets requests under way finish for a while, closes WebSockets, then everything. */
    async close(): Promise<void> {
      draining = true
      for (const socket of sockets) socket.destroy()
      await drained(server)
      for (const idHash of live.sessions()) live.cut(idHash)
      await owned.disposeAsync()
    },
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

function readTls({ certFile, keyFile }: { certFile: string; keyFile: string }) {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile) }
}

/** A renewed certificate is taken without a restart; a half-written one is not. */
function reloadTls(
  server: TlsServer,
  files: { certFile: string; keyFile: string },
  events: ReturnType<typeof createEvents>,
): Disposable {
  const watched = [files.certFile, files.keyFile]
  const take = () => {
    try {
      server.setSecureContext(readTls(files))
    } catch (err) {
      events.unexpected({ where: 'tls reload', err })
    }
  }
  for (const file of watched) watchFile(file, { interval: 5000 }, take)
  return {
    [Symbol.dispose]: () => {
      for (const file of watched) unwatchFile(file, take)
    },
  }
}

function urlOf(scheme: string, { host, port }: { host: string; port: number }): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Resolves when every request under way has been answered, or when the time for it is over. */
function drained(server: Server | TlsServer): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(resolve, DRAIN_MS)
    server.close(() => {
      clearTimeout(late)
      resolve()
    })
    server.closeIdleConnections()
  })
}

async function closeServer(server: Server | TlsServer): Promise<void> {
  server.closeAllConnections()
  if (server.listening) await new Promise((resolve) => server.close(resolve))
}
