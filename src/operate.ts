import { randomBytes } from 'node:crypto'
import { statSync } from 'node:fs'
import type { GatewayConfig } from './config/schema.ts'
import { createEvents, type Events, type Pseudonym } from './core/events.ts'
import { canonicalAuthority } from './core/ocm-address.ts'
import type { Clock } from './core/time.ts'
import { createEndedByHand } from './sessions/ended-by-hand.ts'
import { createLiveConnections } from './sessions/live-connections.ts'
import { partyOf, type Session } from './sessions/session.ts'
import { sessionOf } from './sessions/session-cache.ts'
import { createSessions, type Sessions } from './sessions/sessions.ts'
import { createRecords } from './shares/records.ts'
import type { Share } from './shares/share.ts'
import { openStore } from './store/open.ts'
import { backUp } from './store/sqlite-database.ts'
import type { ShareKey, ShareRow, Store, Tombstone } from './store/store.ts'
import { createPseudonyms } from './trust/pseudonyms.ts'
import { loadSigningKey } from './trust/signing-key.ts'

/** How far ahead of our clock a sender’s may be: its last request may be that much newer than now. */
const SKEW_SECONDS = 60
const TOMBSTONES = 100_000

/** One line of an answer: names and values for people and programs. */
export type Row = Readonly<Record<string, string | number | readonly string[] | undefined>>

export interface OperateOptions {
  /** Of one Sending Server only. */
  readonly domain?: string | undefined
  /** Rows that are shown at most. */
  readonly limit: number
}

interface Desk {
  readonly config: GatewayConfig
  readonly store: Store
  readonly events: Events
  readonly now: Clock
}

interface Operation {
  /** What the command is given, in order. */
  readonly args: readonly string[]
  readonly writes?: true
  run(desk: Desk, args: readonly string[], options: OperateOptions): Promise<readonly Row[]>
}

/** The operator’s commands: what is shared and open, and its end by hand. */
export const operations: Readonly<Record<string, Operation>> = {
  'shares list': { args: [], run: (desk, _args, options) => listShares(desk, options) },
  'shares show': { args: ['DOMAIN', 'ID'], run: (desk, args) => showShare(desk, keyOf(args)) },
  'shares revoke': { args: ['DOMAIN', 'ID'], writes: true, run: (desk, args) => revokeShare(desk, keyOf(args)) },
  'sessions list': { args: [], run: (desk, _args, options) => listSessions(desk, options) },
  'store backup': { args: ['COPY'], run: ({ config }, [copy = '']) => backUpStore(config, copy) },
  'sessions end': { args: ['ID'], writes: true, run: (desk, [id = '']) => endSession(desk, id) },
}

/**
 * Runs one of them on the store itself, beside the gateways that use it: they hear of a write as of each other’s.
 *
 * @param log takes the events of what was changed
 * @throws {GatewayError} `store_unavailable`; {Error} when there is no such share or session, or the store is `memory:`
 */
export async function operate(
  { args: given, run, writes }: Operation,
  args: readonly string[],
  {
    config,
    log,
    now,
    ...options
  }: OperateOptions & { config: GatewayConfig; log: Parameters<typeof createEvents>[0]; now: Clock },
): Promise<readonly Row[]> {
  if (args.length !== given.length) throw new Error(`it needs ${given.join(' and ') || 'nothing more'}`)
  if (config.store.kind === 'memory')
    throw new Error('the store is memory: only the running gateway knows its shares (restart it to end them all)')
  const { storePasswordFile: password } = config
  const beside = writes ? 'writing' : 'reading'
  const store = await openStore(config.store, { now, beside, password })
  try {
    const calls = await pseudonymOf(config)
    return await run({ config, store, events: createEvents(log, () => calls), now }, args, options)
  } finally {
    await store.close()
  }
}

async function pseudonymOf({ audit, server }: GatewayConfig): Promise<Pseudonym | undefined> {
  if (!audit.pseudonyms) return undefined
  const { key } = await loadSigningKey(server.signingKeyFile, new URL(server.publicUrl).host)
  return createPseudonyms(key)
}

function keyOf([domain = '', shareId = '']: readonly string[]): ShareKey {
  return { senderDomain: domainOf(domain), shareId }
}

function domainOf(written: string): string {
  const domain = canonicalAuthority(written)
  if (domain === undefined) throw new Error(`${written} is not the host of a Sending Server`)
  return domain
}

async function listShares({ config, store }: Desk, { domain, limit }: OperateOptions): Promise<Row[]> {
  const domains = domain === undefined ? config.ocmServers.map((pairing) => pairing.domain) : [domainOf(domain)]
  const rows: Row[] = []
  for (const each of domains) rows.push(...(await store.shares.list(each, limit - rows.length)).map(describeShare))
  return rows
}

async function showShare({ store }: Desk, key: ShareKey): Promise<Row[]> {
  const row = await store.shares.get(key)
  const sessions = (await store.sessions.ofShare(key)).map(sessionOf)
  if (row === undefined && sessions.length === 0) throw new Error(`${key.senderDomain} has no share ${key.shareId}`)
  return [...(row === undefined ? [] : [detailShare(row)]), ...sessions.map(describeSession)]
}

/** As the sender’s own revocation: a tombstone, and the end of all its sessions. An unknown share gets a tombstone too. */
async function revokeShare({ config, store, events, now }: Desk, key: ShareKey): Promise<Row[]> {
  const startedAt = performance.now()
  const records = createRecords({ store, now })
  const pairing = config.ocmServers.find(({ domain }) => domain === key.senderDomain)
  const limits = { shares: TOMBSTONES, ...pairing?.limits } as NonNullable<typeof pairing>['limits']
  const at = (created: number) =>
    records.revoke(key, { created, signature: `operator ${randomBytes(16).toString('hex')}` }, { limits })
  const time = Math.floor(now())
  const first = await at(time)
  const outcome = first === 'superseded' ? await at(time + SKEW_SECONDS) : first
  if (outcome === 'superseded') throw new Error('the sender has just changed this share; try again in a minute')
  const ended = await endThem({ config, store, events, now }, (sessions) => sessions.endShare(key, 'blocked'))
  const seconds = (performance.now() - startedAt) / 1000
  events.shareRevoked({ requestId: 'operator', ...key, outcome, seconds })
  return [{ domain: key.senderDomain, share: key.shareId, state: outcome, sessionsEnded: ended }]
}

async function listSessions(desk: Desk, { domain, limit }: OperateOptions): Promise<Row[]> {
  const all = await liveSessions(desk)
  const of = domain === undefined ? all : all.filter(({ grant }) => grant.senderDomain === domainOf(domain))
  return of.slice(0, limit).map(describeSession)
}

async function endSession(desk: Desk, id: string): Promise<Row[]> {
  const found = id === '' ? [] : (await liveSessions(desk)).filter(({ idHash }) => idHash.startsWith(id))
  const [session, second] = found
  if (session === undefined) throw new Error(`there is no session ${id}; sessions list shows them`)
  if (second !== undefined) throw new Error(`${id} is the beginning of ${found.length} sessions; write more of it`)
  await endThem(desk, (sessions) => sessions.end(session, 'operator'))
  return [{ ...describeSession(session), state: 'ended' }]
}

async function backUpStore({ store }: GatewayConfig, copy: string): Promise<Row[]> {
  if (store.kind !== 'sqlite') throw new Error(`the store is ${store.kind}, which has its own ways to be backed up`)
  backUp(store.file, copy)
  return [{ backup: copy, bytes: statSync(copy).size }]
}

async function liveSessions({ store }: Desk): Promise<Session[]> {
  return (await store.sessions.due(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)).map(sessionOf)
}

/** Ends sessions, and leaves them to the gateways, which stop what was started for them. */
async function endThem<T>({ config, store, events, now }: Desk, end: (sessions: Sessions) => Promise<T>): Promise<T> {
  const sessions = createSessions({ store, live: createLiveConnections(), now, events }, () => config.sessions)
  const ended: Session[] = []
  sessions.onEnd((session) => void ended.push(session))
  const result = await end(sessions)
  const { leave } = createEndedByHand({ notes: store.notes, now })
  for (const session of ended) await leave(session)
  return result
}

function describeShare(row: ShareRow | Tombstone): Row {
  const { senderDomain: domain, shareId: share, state } = row
  if (row.state === 'revoked') return { domain, share, state, since: instant(row.revokedAt) }
  const { name, owner, shareWith: recipient, webapp } = JSON.parse(row.data) as Share
  const { permissions } = webapp
  return { domain, share, state, since: instant(row.created), name, owner, recipient, permissions }
}

function detailShare(row: ShareRow | Tombstone): Row {
  if (row.state === 'revoked') return describeShare(row)
  const { sender, resourceType, providerId, webapp } = JSON.parse(row.data) as Share
  const { appName, uri, requirements } = webapp
  const expires = row.expiresAt === undefined ? undefined : instant(row.expiresAt)
  return { ...describeShare(row), sender, resourceType, providerId, appName, uri, requirements, expires }
}

function describeSession(described: Session): Row {
  const { grant, openedAt, deadline } = described
  const { session, webapp, senderDomain: domain, shareId: share, user } = partyOf(described)
  const times = { opened: instant(openedAt), endsAt: instant(deadline) }
  return { session, webapp, domain, share, user, mode: grant.mode, permissions: grant.permissions, ...times }
}

function instant(epochSeconds: number): string {
  return new Date(epochSeconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** Rows for a person: one a line. What a peer wrote cannot move the cursor. */
export function inWords(rows: readonly Row[]): string {
  const entries = (row: Row) => Object.entries(row).filter(([, value]) => value !== undefined)
  return rows
    .map((row) =>
      entries(row)
        .map(([name, value]) => `${name}=${written(value)}`)
        .join(' '),
    )
    .join('\n')
}

function written(value: Row[string]): string {
  const text = [value].flat().join(',').replace(/\p{C}/gu, '\u{fffd}')
  return text === '' || /[\s"=]/.test(text) ? JSON.stringify(text) : text
}
