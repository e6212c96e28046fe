import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import { systemClock } from '../../src/core/time.ts'
import { notificationOf, type SentShare } from '../../src/demo/sent-share.ts'
import { rowOf } from '../../src/sessions/session-cache.ts'
import type { Grant } from '../../src/shares/grant.ts'
import { readProvisioning } from '../../src/shares/share.ts'
import { openRedisStore } from '../../src/store/redis.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { startRedis } from '../contract/redis-server.ts'
import { type Figure, figureOf, showFigure, showTable } from './figures.ts'
import { type SendingServer, startAlice, startGateway } from './gateway.ts'
import { cpuSeconds, messageOf, residentBytes, startWorker } from './processes.ts'
import { APP_BASE, type Headers } from './workloads.ts'

const FEW_SHARES = 1_000
/** Of the shares that are in the store before anything is measured. */
const SHARES_FOR_A_SESSION = 10
const REPETITIONS = 50
const ROUNDS = 9
const REQUESTS_EACH = 10
const BATCH = 500
/** So many seconds in a row, with no more CPU than that in each. */
const IDLE_SECONDS = 5
const IDLE_CPU_SECONDS = 0.05
const MONTH = 30 * 86_400

/** What is measured of each operation. */
interface Cost {
  readonly milliseconds: number
  /** Of the gateway’s process. */
  readonly cpuMicroseconds: number
}

const OPERATIONS = ['provisioning', 'launch', 'request', 'revocation'] as const
type Operation = (typeof OPERATIONS)[number]
type Costs = Readonly<Record<Operation, Cost>>

/** The same with few shares and with many. */
interface Pair<Value> {
  readonly few: Value
  readonly many: Value
}

/** And the second divided by the first, round by round. */
interface Compared extends Pair<Figure> {
  readonly ratio: Figure
}

interface StoreComparison {
  /** Memory of the gateway. */
  readonly mebibytes: Pair<number>
  readonly operations: Readonly<Record<Operation, Readonly<Record<keyof Cost, Compared>>>>
}

export interface ScaleReport {
  readonly shares: Pair<number>
  /** By the name of the store. */
  readonly stores: Readonly<Record<string, StoreComparison>>
}

/** Where a gateway finds its store, and how it is filled before. */
interface Place {
  readonly url: string
  open(): Promise<Store>
}

interface Run {
  readonly opened: AsyncDisposableStack
  readonly say: (line: string) => void
}

/** What one operation costs a gateway whose store is small, and one whose store is large. */
export async function measureScale(shares: number, say: (line: string) => void): Promise<ScaleReport> {
  const stores: [string, StoreComparison][] = []
  for (const [name, start] of Object.entries(PLACES)) {
    await using opened = new AsyncDisposableStack()
    stores.push([name, await compare(start, shares, { opened, say })])
  }
  return { shares: { few: FEW_SHARES, many: shares }, stores: Object.fromEntries(stores) }
}

async function compare(
  start: (opened: AsyncDisposableStack) => Promise<Place>,
  shares: number,
  run: Run,
): Promise<StoreComparison> {
  const few = await startFilled(await start(run.opened), FEW_SHARES, run)
  const many = await startFilled(await start(run.opened), shares, run)
  // The first rounds compile the code.
  for (const scene of [few, many]) for (let round = 0; round < 2; round += 1) await measureOperations(scene)
  const taken: [Costs, Costs][] = []
  for (let round = 0; round < ROUNDS; round += 1)
    taken.push([await measureOperations(few), await measureOperations(many)])
  const memoryOf = ({ pid }: Scene) => residentBytes(pid) / 2 ** 20
  return { mebibytes: { few: memoryOf(few), many: memoryOf(many) }, operations: comparisonOf(taken) }
}

function comparisonOf(taken: readonly (readonly [Costs, Costs])[]): StoreComparison['operations'] {
  const compared = (operation: Operation, what: keyof Cost): Compared => {
    const pairs = taken.map(([few, many]) => [few[operation][what], many[operation][what]] as const)
    return {
      few: figureOf(pairs.map(([few]) => few)),
      many: figureOf(pairs.map(([, many]) => many)),
      ratio: figureOf(pairs.map(([few, many]) => many / few)),
    }
  }
  const both = (operation: Operation) => ({
    milliseconds: compared(operation, 'milliseconds'),
    cpuMicroseconds: compared(operation, 'cpuMicroseconds'),
  })
  return {
    provisioning: both('provisioning'),
    launch: both('launch'),
    request: both('request'),
    revocation: both('revocation'),
  }
}

const PLACES: Record<string, (opened: AsyncDisposableStack) => Promise<Place>> = {
  SQLite: async (opened) => {
    const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-scale-'))
    opened.defer(() => rm(folder, { recursive: true, force: true }))
    const file = join(folder, 'gateway.db')
    return { url: `sqlite:${file}`, open: async () => openSqliteStore(file, { now: systemClock }) }
  },
  Redis: async (opened) => {
    const redis = await startRedis()
    opened.defer(() => redis.stop())
    return { url: redis.url, open: () => openRedisStore(redis.address(), { now: systemClock, warn: () => {} }) }
  },
}

async function startFilled(place: Place, shares: number, { opened, say }: Run): Promise<Scene> {
  const sessions = Math.ceil(shares / SHARES_FOR_A_SESSION)
  const alice = opened.adopt(await startAlice(), (server) => server.close())
  const startedAt = performance.now()
  const store = await place.open()
  await fill(store, { shares, sessions }, alice)
  await store.close()
  const filledAt = performance.now()
  const scene = await startScene(opened, place.url, alice)
  await untilIdle(scene.pid)
  const [filling, starting] = [filledAt - startedAt, performance.now() - filledAt].map((ms) => (ms / 1000).toFixed(0))
  say(`${shares} shares, ${sessions} sessions: filled in ${filling} s, started and idle in ${starting} s`)
  return scene
}

/** Rows as the gateway itself writes them; nobody opens them. */
async function fill(
  store: Store,
  { shares, sessions }: { shares: number; sessions: number },
  alice: SendingServer,
): Promise<void> {
  const [now, senderDomain, instance] = [systemClock(), alice.domain, randomBytes(16).toString('hex')]
  const wish = { mode: 'self-contained', notify: false, uri: `http://apps.localhost${APP_BASE}.ocm/open` } as const
  const identified = readProvisioning(notificationOf(await alice.share(wish)))
  if (Array.isArray(identified)) throw new Error(identified.join())
  const { share } = identified
  const live = { state: 'live', instance, created: now, expiresAt: now + MONTH, data: JSON.stringify(share) } as const
  await inBatches(shares, (index) => {
    const row = { ...live, senderDomain, shareId: `filled ${index}` }
    return store.shares.put(row, { created: now, signature: String(index) }, { limit: Number.POSITIVE_INFINITY })
  })
  const { owner, shareWith: user, webapp } = share
  const expiry = { expiresAt: now + MONTH, tokenExpiresAt: now + MONTH }
  const grant = {
    mode: 'provisioned',
    senderDomain,
    instance,
    user,
    owner,
    share,
    permissions: webapp.permissions,
    ...expiry,
  } as const
  const common = {
    webapp: 'bench',
    scope: APP_BASE,
    openedAt: now,
    ...expiry,
    deadline: now + MONTH,
    returnUri: undefined,
  }
  const shown = { framed: true, frameAncestors: [], suffix: '' }
  await inBatches(sessions, (index) => {
    const granted: Grant = { ...grant, shareId: `filled ${index % shares}` }
    const row = rowOf({ ...common, ...shown, idHash: `filled ${index}`, grant: granted })
    return store.sessions.open(row, { limit: Number.MAX_SAFE_INTEGER })
  })
}

async function inBatches(count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < count; start += BATCH)
    await Promise.all(Array.from({ length: Math.min(BATCH, count - start) }, (_, offset) => work(start + offset)))
}

/** A gateway that has started looks at every session once. */
async function untilIdle(pid: number): Promise<void> {
  for (let idle = 0; idle < IDLE_SECONDS; ) {
    const before = cpuSeconds(pid)
    await wait(1000)
    idle = cpuSeconds(pid) - before < IDLE_CPU_SECONDS ? idle + 1 : 0
  }
}

type Scene = Awaited<ReturnType<typeof startScene>>

/** The gateway on a store that is full already. */
async function startScene(opened: AsyncDisposableStack, store: string, alice: SendingServer) {
  const app = opened.use(startWorker(new URL('./upstream-app.ts', import.meta.url)))
  const appPort = await messageOf<number>(app.worker)
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-scale-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const gateway = opened.use(await startGateway({ appPort, folder, store, alice }))
  const agent = opened.adopt(new Agent({ keepAlive: true, maxSockets: 1 }), (each) => each.destroy())
  return { ...gateway, agent }
}

async function measureOperations({ alice, pid, port, agent, prepare, launch }: Scene): Promise<Costs> {
  const sent: { share: SentShare; token: string; headers: Headers }[] = []
  const provisioning = await costOf(pid, REPETITIONS, async () => {
    sent.push({ share: await prepare(), token: '', headers: {} })
  })
  for (const each of sent) each.token = await alice.mintToken({ share: each.share })
  const launches = await costOf(pid, REPETITIONS, async (index) => {
    const each = sent[index]
    if (each === undefined) throw new Error('it was sent')
    each.headers = (await launch(each.share, each.token)).headers
  })
  const requests = await costOf(pid, REPETITIONS * REQUESTS_EACH, async (index) => {
    const asked = request({ agent, port, path: `${APP_BASE}1k`, headers: { ...sent[index % sent.length]?.headers } })
    const [answer] = (await once(asked.end(), 'response')) as [IncomingMessage]
    await text(answer)
    if (answer.statusCode !== 200) throw new Error(`a request was answered ${answer.statusCode}`)
  })
  const revocation = await costOf(pid, REPETITIONS, async (index) => {
    const { status } = await alice.revoke({ sender: alice.address, providerId: sent[index]?.share.providerId })
    if (status !== 200) throw new Error(`a revocation was answered ${status}`)
  })
  return { provisioning, launch: launches, request: requests, revocation }
}

/** One after the other: the time of the middle one, and the CPU of the gateway’s process for each. */
async function costOf(pid: number, count: number, work: (index: number) => Promise<void>): Promise<Cost> {
  const cpu = cpuSeconds(pid)
  const times: number[] = []
  for (let index = 0; index < count; index += 1) {
    const startedAt = performance.now()
    await work(index)
    times.push(performance.now() - startedAt)
  }
  return { milliseconds: figureOf(times).median, cpuMicroseconds: ((cpuSeconds(pid) - cpu) * 1e6) / count }
}

/** One table for each store, with its name: head, then a row for each operation and unit. */
export function scaleTables({ shares, stores }: ScaleReport): [string, string[][]][] {
  const counts = [shares.few, shares.many].map((count) => `${count.toLocaleString('en')} shares`)
  return Object.entries(stores).map(([name, { mebibytes, operations }]) => [
    name,
    [
      ['', ...counts, 'ratio, round by round'],
      ...OPERATIONS.flatMap((operation) => {
        const { milliseconds, cpuMicroseconds } = operations[operation]
        return [
          [`${operation}, ms`, ...figuresOf(milliseconds)],
          [`${operation}, CPU µs`, ...figuresOf(cpuMicroseconds)],
        ]
      }),
      ['memory of the gateway, MiB', ...[mebibytes.few, mebibytes.many].map((each) => each.toFixed(0)), ''],
    ],
  ])
}

const figuresOf = ({ few, many, ratio }: Compared) => [few, many, ratio].map(showFigure)

export function showScale(report: ScaleReport): string {
  return scaleTables(report)
    .map(([store, rows]) => `${store}\n${showTable(rows)}`)
    .join('\n\n')
}
