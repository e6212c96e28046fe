import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { App, OnlineFinding } from './apps/app.ts'
import { createApps } from './apps/registry.ts'
import type { GatewayConfig } from './config/schema.ts'
import { createEvents, createLog } from './core/events.ts'
import { createOutbound, type Outbound } from './core/outbound.ts'
import type { Clock } from './core/time.ts'
import { createResources } from './resources/resources.ts'
import { openStore } from './store/open.ts'
import { createRecentWorkloads } from './store/recent-workloads.ts'
import {
  type AskedPairing,
  createIntrospectionClient,
  type IntrospectionClient,
  IntrospectionError,
} from './trust/credentials/introspection-client.ts'
import type { Discover } from './trust/discovery.ts'
import type { Keys } from './trust/keys.ts'
import type { Pairing } from './trust/pairings.ts'
import { createSealer } from './trust/sealer.ts'
import { loadSigningKey } from './trust/signing-key.ts'
import { createTrust } from './trust/trust.ts'

const UPSTREAM_SECONDS = 10

/** The peers of a configuration, and what they are asked with. */
interface Peers {
  readonly outbound: Outbound
  readonly discover: Discover
  readonly keys: Keys
  readonly introspection: IntrospectionClient
  readonly publicUrl: string
  /** Our key is the gateway’s, and not one made for the moment. */
  readonly keyIsOurs: boolean
}

const well = (path: string, message: string): OnlineFinding => ({ ok: true, path, message })
const wrong = (path: string, message: string): OnlineFinding => ({ ok: false, path, message })

/**
 * Tries the peers that a configuration names, as a launch would meet them: keys and introspection endpoints of the pairings,
 * upstreams of the webapps, and what each kind asks its app. All at once; a peer that fails is a finding. Paths are those
 * of the file, as in `ocmServers[0].keysUrl`.
 *
 * Nothing is changed, neither there nor here: the store is not opened, and a missing signing key is not made.
 */
export async function checkOnline(config: GatewayConfig, now: Clock): Promise<readonly OnlineFinding[]> {
  await using cleanup = new AsyncDisposableStack()
  const { server, ocmServers, webapps } = config
  const { insecureLoopback, publicUrl } = server
  const outbound = cleanup.adopt(createOutbound({ insecureLoopback }), (opened) => opened.destroy())
  const store = cleanup.adopt(await openStore({ kind: 'memory' }, { now }), (opened) => opened.close())
  const events = createEvents(createLog({ level: 'silent' }))
  const keyIsOurs = existsSync(server.signingKeyFile)
  const signingKey = await loadSigningKey(
    keyIsOurs ? server.signingKeyFile : passingFile(cleanup),
    new URL(publicUrl).host,
  )
  const trust = { ocmServers, insecureLoopback, outbound, signingKey, now, events, takeIntrospection: () => () => {} }
  const { keys, discover } = createTrust(trust)
  const introspection = createIntrospectionClient({ keys, outbound, signingKey, now })
  const sealer = createSealer(signingKey.key)
  const resources = createResources({ store, sealer, outbound, discover, now })
  const apps = createApps(webapps, {
    outbound,
    store,
    recentWorkloads: createRecentWorkloads(store, now),
    now,
    events,
    signingKey,
    publicUrl,
    sealer,
    resources,
  })
  const peers = { outbound, discover, keys, introspection, publicUrl, keyIsOurs }
  const found = await Promise.all([
    ...ocmServers.map((pairing, index) => tryPairing(pairing, `ocmServers[${index}]`, peers)),
    ...apps.map((app, index) => tryApp(app, `webapps[${index}]`, outbound)),
  ])
  return found.flat().map((finding) => ({ ...finding, message: finding.message.replace(/\p{Cc}+/gu, ' ') }))
}

/** A file that is gone when the check is over. */
function passingFile(cleanup: AsyncDisposableStack): string {
  const folder = mkdtempSync(join(tmpdir(), 'ocm-gateway-check-'))
  cleanup.defer(() => rmSync(folder, { recursive: true }))
  return join(folder, 'key.json')
}

async function tryPairing(pairing: Pairing, at: string, peers: Peers): Promise<OnlineFinding[]> {
  const { introspection, modes, sharedKeyFile } = pairing
  const needsKeys = modes.includes('provisioned') || (modes.includes('self-contained') && sharedKeyFile === undefined)
  const [keys, endpoint] = await Promise.all([
    needsKeys ? tryKeys(pairing, at, peers) : [],
    introspection ? tryIntrospection({ ...pairing, introspection }, `${at}.introspection`, peers) : [],
  ])
  return [...keys, ...endpoint]
}

async function tryKeys(pairing: Pairing, at: string, { discover, keys }: Peers): Promise<OnlineFinding[]> {
  const findings: OnlineFinding[] = []
  if (pairing.keysUrl === undefined) {
    try {
      const { origin, jwksUri } = await discover(pairing)
      const where = jwksUri ?? `${origin}/.well-known/jwks.json, as its discovery names no jwksUri`
      findings.push(well(`${at}.domain`, `its keys are at ${where}`))
    } catch (error) {
      return [wrong(`${at}.domain`, unreachable(error, 'the domain, or set keysUrl'))]
    }
  }
  try {
    const { keys: usable, rejected } = await keys.fetch(pairing)
    const refused = rejected.length === 0 ? '' : `; not usable: ${rejected.join(', ')}`
    if (usable.size > 0) return [...findings, well(`${at}.keysUrl`, `${counted(usable.size, 'key')}${refused}`)]
    return [...findings, wrong(`${at}.keysUrl`, `there is no usable key (must publish one for signatures)${refused}`)]
  } catch (error) {
    return [...findings, wrong(`${at}.keysUrl`, unreachable(error, 'the address'))]
  }
}

/** Asks about a credential that nobody issued. */
async function tryIntrospection(pairing: AskedPairing, at: string, peers: Peers): Promise<OnlineFinding[]> {
  const { auth } = pairing.introspection
  if (!peers.keyIsOurs && (auth === 'http-signature' || auth === 'private_key_jwt')) {
    return [
      wrong(at, `cannot be tried with auth: ${auth} before server.signingKeyFile is there (start the gateway once)`),
    ]
  }
  try {
    const { active } = await peers.introspection.ask(pairing, randomBytes(32).toString('base64url'))
    if (active === false) return [well(at, 'it knows us, and a credential that nobody issued is not active')]
    return [
      wrong(at, 'calls a credential active that nobody issued (must answer "active": false; nobody may launch yet)'),
    ]
  } catch (error) {
    if (!(error instanceof IntrospectionError)) throw error
    return [wrong(at, meaningOf(error, pairing, peers))]
  }
}

/** What an answer that does not count means, and what to look at. */
function meaningOf({ status, message }: IntrospectionError, { introspection }: AskedPairing, peers: Peers): string {
  const ours = `${peers.publicUrl.replace(/\/$/, '')}/.well-known/jwks.json`
  const credentials = {
    'http-signature': `it must be able to fetch our key at ${ours}: the gateway has to run, and be reached from there`,
    client_secret_basic: 'compare clientId and clientSecretFile with what is registered there',
    client_secret_post: 'compare clientId and clientSecretFile with what is registered there',
    private_key_jwt: `register clientId there, with the keys at ${ours}`,
    bearer: 'compare the token in clientSecretFile',
    none: 'choose another auth, with the credentials that it gave you',
  }[introspection.auth]
  if (status === undefined) return unreachable({ message }, 'url')
  if (status === 400 || status === 401) return `answers ${status}: it does not know us (${credentials})`
  if (status === 403)
    return 'answers 403: it knows us, and does not let us ask (our client needs the right to introspect)'
  if (status === 404 || status === 405)
    return `answers ${status}: no introspection endpoint is there (compare url with introspection_endpoint in its metadata)`
  if (status >= 500) return `answers ${status}: something is wrong at its side (its operator has to look)`
  return `answers ${status}, and no introspection answer: ${message} (must be 200 and JSON with "active", RFC 7662)`
}

async function tryApp(app: App, at: string, outbound: Outbound): Promise<OnlineFinding[]> {
  const [upstream, own] = await Promise.all([tryUpstream(app, `${at}.upstream`, outbound), askKind(app)])
  return [upstream, ...own.map((finding) => ({ ...finding, path: `${at}.${finding.path}` }))]
}

async function askKind(app: App): Promise<readonly OnlineFinding[]> {
  try {
    return (await app.checkOnline?.()) ?? []
  } catch (error) {
    return [wrong(app.webapp.kind, `could not be tried: ${(error as Error).message}`)]
  }
}

/** Any answer will do that is not that of a broken server: an app may well refuse who has no session. */
async function tryUpstream({ webapp }: App, path: string, outbound: Outbound): Promise<OnlineFinding> {
  try {
    const status = await statusOf(webapp.upstream, outbound)
    if (status < 500) return well(path, `it answers ${status}`)
    return wrong(path, `answers ${status} (must be an app that works)`)
  } catch (error) {
    return wrong(path, unreachable(error, 'the address, and whether the app runs'))
  }
}

async function statusOf(url: string, outbound: Outbound): Promise<number> {
  const sent = { method: 'GET', headers: { accept: 'text/html' } } as const
  const { status, body } = await outbound.exchange(url, sent, { operatorNamed: true, silenceSeconds: UPSTREAM_SECONDS })
  // Who stops reading ends the exchange; a first chunk is enough.
  for await (const _chunk of body) break
  return status
}

function unreachable(error: unknown, compare: string): string {
  return `cannot be reached: ${(error as Error).message} (compare ${compare})`
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
