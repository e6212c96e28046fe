import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, type IncomingMessage, request } from 'node:http'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import { systemClock } from '../../src/core/time.ts'
import { freePort } from '../../src/demo/listen.ts'
import { startSendingServer } from '../../src/demo/sending-server.ts'
import { notificationOf, type SentShare } from '../../src/demo/sent-share.ts'
import { rowOf } from '../../src/sessions/session-cache.ts'
import type { Grant } from '../../src/shares/grant.ts'
import { readProvisioning } from '../../src/shares/share.ts'
import { openRedisStore } from '../../src/store/redis.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { startRedis } from '../contract/redis-server.ts'
import { figureOf, showFigure, showTable } from './figures.ts'
import { build } from './gateway.ts'
import { cpuSeconds, messageOf, residentBytes, startServer, startWorker } from './processes.ts'
import { APP_BASE } from './workloads.ts'

/** Shares and sessions that are in the store before anything is measured. */
interface Size {
  readonly shares: number
  readonly sessions: number
}

const SMALL: Size = { shares: 1_000, sessions: 100 }
const LARGE: Size = { shares: 100_000, sessions: 10_000 }
const HUGE: Size = { shares: 1_000_000, sessions: 100_000 }
const REPETITIONS = 50
const ROUNDS = { usual: 9, quick: 3 }
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

/** Where a gateway finds its store, and how it is filled before. */
interface Place {
  readonly url: string
  open(): Promise<Store>
}

/**
 * What one operation costs a gateway whose store is small, and one whose store is large: `SCALE=huge` makes that a million
 * shares and a hundred thousand sessions.
 */
export async function measureScale({ quick }: { quick: boolean }, say: (line: string) => void): Promise<void> {
  const large = process.env.SCALE === 'huge' ? HUGE : LARGE
  const rounds = ROUNDS[quick ? 'quick' : 'usual']
  for (const [name, start] of Object.entries(PLACES)) {
    await using opened = new AsyncDisposableStack()
    const sizes = [SMALL, large]
    const scenes: Scene[] = []
    for (const size of sizes) scenes.push(await startFilled(await start(opened), size, opened, say))
    // The first rounds compile the code.
    for (const scene of scenes) for (let round = 0; round < 2; round += 1) await measureOperations(scene)
    const taken: Costs[][] = scenes.map(() => [])
    for (let round = 0; round < rounds; round += 1)
      for (const [index, scene] of scenes.entries()) taken[index]?.push(await measureOperations(scene))
    const memory = scenes.map(({ pid }) => `${(residentBytes(pid) / 2 ** 20).toFixed(0)} MiB`)
    say(`\n${name}, load average ${loadavg()[0]?.toFixed(1)}, memory of the gateways ${memory.join(' and ')}`)
    say(`${showCosts(sizes, taken)}\n`)
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

async function startFilled(
  place: Place,
  size: Size,
  opened: AsyncDisposableStack,
  say: (line: string) => void,
): Promise<Scene> {
  const alice = await startSendingServer({ contacts: ['bob@bob.localhost'] })
  opened.defer(() => alice.close())
  const startedAt = performance.now()
  const store = await place.open()
  await fill(store, size, alice)
  await store.close()
  const filledAt = performance.now()
  const scene = await startScene(opened, place.url, alice)
  await untilIdle(scene.pid)
  const [filling, starting] = [filledAt - startedAt, performance.now() - filledAt].map((ms) => (ms / 1000).toFixed(0))
  say(`${size.shares} shares, ${size.sessions} sessions: filled in ${filling} s, started and idle in ${starting} s`)
  return scene
}

type Alice = Awaited<ReturnType<typeof startSendingServer>>

/** Rows as the gateway itself writes them; nobody opens them. */
async function fill(store: Store, { shares, sessions }: Size, alice: Alice): Promise<void> {
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

/** The gateway as it is deployed, on a store that is full already. */
async function startScene(opened: AsyncDisposableStack, store: string, alice: Alice) {
  const app = opened.use(startWorker(new URL('./upstream-app.ts', import.meta.url)))
  const appPort = await messageOf<number>(app.worker)
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-scale-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const port = await freePort()
  const url = `http://apps.localhost:${port}`
  const limits = { requestsPerMinute: 1_000_000, shares: 10_000_000, sessions: 10_000_000 }
  const config = {
    server: {
      publicUrl: url,
      listen: `127.0.0.1:${port}`,
      adminListen: '127.0.0.1:0',
      signingKeyFile: './signing-key.json',
      insecureLoopback: true,
    },
    store,
    ocmServers: [{ domain: alice.domain, limits }],
    webapps: [
      {
        name: 'bench',
        kind: 'generic',
        publicUrl: `${url}${APP_BASE}`,
        upstream: `http://127.0.0.1:${appPort}${APP_BASE}`,
      },
    ],
  }
  const file = join(folder, 'gateway.yaml')
  // JSON is YAML.
  await writeFile(file, JSON.stringify(config))
  const { pid } = opened.use(await startServer(process.execPath, [await build(), 'serve', '--config', file], { port }))
  alice.pair({ integrationApi: `${url}/ocm`, launchUrl: `${url}${APP_BASE}.ocm/open`, appName: 'Bench' })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  opened.defer(() => agent.destroy())
  return { alice, pid, agent, at: { port, host: `apps.localhost:${port}` } }
}

async function measureOperations({ alice, pid, agent, at }: Scene): Promise<Costs> {
  const sent: { share: SentShare; token: string; cookie: string }[] = []
  const ask = (path: string, method: string, headers: Record<string, string>, body = '') =>
    answerOf(agent, { ...at, path: APP_BASE + path }, method, headers, body)
  const provisioning = await costOf(pid, REPETITIONS, async () => {
    sent.push({ share: await alice.share({ notify: false }), token: '', cookie: '' })
  })
  for (const each of sent) each.token = await alice.mintToken({ share: each.share })
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const launch = await costOf(pid, REPETITIONS, async (index) => {
    const each = sent[index]
    if (each === undefined) throw new Error('it was sent')
    const body = new URLSearchParams({ access_token: each.token }).toString()
    const { status, cookie } = await ask('.ocm/open', 'POST', form, body)
    if (status !== 303) throw new Error(`a launch was answered ${status}`)
    each.cookie = cookie
  })
  const requests = await costOf(pid, REPETITIONS * REQUESTS_EACH, async (index) => {
    const { status } = await ask('1k', 'GET', { cookie: sent[index % sent.length]?.cookie ?? '' })
    if (status !== 200) throw new Error(`a request was answered ${status}`)
  })
  const revocation = await costOf(pid, REPETITIONS, async (index) => {
    const { status } = await alice.revoke({ sender: alice.address, providerId: sent[index]?.share.providerId })
    if (status !== 200) throw new Error(`a revocation was answered ${status}`)
  })
  return { provisioning, launch, request: requests, revocation }
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

async function answerOf(
  agent: Agent,
  { host, ...to }: { port: number; host: string; path: string },
  method: string,
  headers: Record<string, string>,
  body: string,
) {
  const sent = request({ ...to, agent, method, headers: { host, ...headers } })
  sent.end(body)
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const [cookie = ''] = answer.headers['set-cookie'] ?? []
  await text(answer)
  return { status: answer.statusCode, cookie: cookie.split(';')[0] ?? '' }
}

function showCosts(sizes: readonly Size[], taken: readonly (readonly Costs[])[]): string {
  const head = ['', ...sizes.map(({ shares }) => `${shares} shares`), 'ratio, round by round']
  const row = (operation: Operation, what: keyof Cost) => {
    const [small = [], large = []] = taken.map((costs) => costs.map((each) => each[operation][what]))
    const ratios = large.map((value, round) => value / (small[round] ?? 0))
    const unit = what === 'milliseconds' ? 'median ms' : 'CPU µs'
    return [`${operation}, ${unit}`, ...[small, large, ratios].map((samples) => showFigure(figureOf(samples)))]
  }
  const rows = OPERATIONS.flatMap((operation) => [row(operation, 'milliseconds'), row(operation, 'cpuMicroseconds')])
  return showTable([head, ...rows])
}
