import { setTimeout as pause } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { residentBytes } from '../bench/processes.ts'
import { openPassage, startRedis, startSentinel } from '../contract/redis-server.ts'
import type { GatewayProcess } from '../flow/gateway-process.ts'
import { until } from '../flow/until.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { type Fault, failovers, networkFaults, redisFaults, replicaFaults } from './faults.ts'
import { createLoad, type Load } from './load.ts'
import { createRandom, type Random } from './random.ts'
import { createTroubles, type Troubles } from './troubles.ts'

/** Of all runs together. */
const SECONDS = Number(process.env.CHAOS_SECONDS ?? 60)
const SEED = Number(process.env.CHAOS_SEED ?? Math.floor(Math.random() * 2 ** 32))
const REPLICAS = 3
/** A master that lost its replicas takes no writes, as `docs/operating.md` says. */
const WATCHED = ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '2', '--repl-diskless-sync-delay', '0']
/** Kill -9 loses nothing then. */
const DURABLE = ['--appendfsync', 'always']
const GROWTH_MAX = 150 * 2 ** 20
const TIMEOUT = SECONDS * 1000 + 180_000

/** What is broken, and for how long. */
interface Breaking {
  readonly faults: readonly Fault[]
  readonly troubles: Troubles
  readonly seconds: number
}

const say = (line: string) => void process.stdout.write(`${line}\n`)

async function redisServer(more: readonly string[]) {
  const redis = await startRedis(more)
  onTestFinished(() => redis.stop())
  return redis
}

async function clusterOver(stores: readonly string[]): Promise<Cluster> {
  const cluster = await startCluster(stores)
  onTestFinished(() => cluster.close())
  return cluster
}

const isReady = async ({ adminUrl }: GatewayProcess) =>
  fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(3000) }).then(
    ({ ok }) => ok,
    () => false,
  )

async function openWebSockets({ adminUrl }: GatewayProcess): Promise<number> {
  const metrics = await (await fetch(`${adminUrl}/metrics`)).text()
  const counts = [...metrics.matchAll(/^ocm_gateway_websockets_active\{.*\} (\d+)$/gm)]
  return counts.reduce((sum, [, count]) => sum + Number(count), 0)
}

/** One fault after the other, each once at least, until the time is over; in between, everything must be whole again. */
async function breakThings(
  cluster: Cluster,
  { faults, troubles, seconds, random }: Breaking & { readonly random: Random },
): Promise<Load> {
  const load = createLoad(cluster, { random: createRandom(SEED + 3), troubles })
  const startedAt = performance.now()
  const elapsed = () => (performance.now() - startedAt) / 1000
  let waiting = [...faults]
  while (elapsed() < seconds) {
    await pause(random.between(500, 2500))
    const fault = random.of(waiting)
    if (fault === undefined) break
    waiting = waiting.filter((other) => other !== fault)
    if (waiting.length === 0) waiting = [...faults]
    say(`${elapsed().toFixed(3)} s: ${fault.name}`)
    const whole = troubles.begin(fault.part)
    await fault.run()
    await until(
      'every replica is ready',
      async () => (await Promise.all(cluster.replicas.map(isReady))).every(Boolean),
      30,
    )
    whole()
  }
  return load
}

/** What must hold when all is whole again. */
async function expectAllWell(cluster: Cluster, load: Load): Promise<void> {
  await load.stop()
  expect(load.wrong).toEqual([])
  await until('no WebSocket of a revoked share is open', () => load.orphans() === 0)
  await load.checkAll()
  const { revocations, ...tally } = load.tally
  const ordered = revocations.toSorted((a, b) => a - b).map(Math.round)
  const [middle, slowest] = [ordered[ordered.length >> 1], ordered.at(-1)]
  say(JSON.stringify({ ...tally, revocationMilliseconds: { middle, slowest } }))
  expect(load.wrong).toEqual([])
  for (const { socket } of load.lines) socket.terminate()
  await until('no WebSocket is left at the app', () => cluster.app.open.size === 0)
  for (const replica of cluster.replicas)
    await until('no WebSocket is left at a replica', async () => (await openWebSockets(replica)) === 0)
}

const memoryOf = ({ replicas }: Cluster) => Math.max(...replicas.map(({ pid }) => residentBytes(pid)))

async function survive(cluster: Cluster, breaking: Breaking): Promise<void> {
  say(`CHAOS_SEED=${SEED} CHAOS_SECONDS=${SECONDS}`)
  const random = createRandom(SEED)
  const before = memoryOf(cluster)
  const load = await breakThings(cluster, { ...breaking, random })
  await expectAllWell(cluster, load)
  expect(memoryOf(cluster)).toBeLessThan(before + GROWTH_MAX)
}

it('nothing is lost, and nothing is served that was revoked, whatever happens to replicas, Redis and the network', {
  timeout: TIMEOUT,
}, async () => {
  const redis = await redisServer(DURABLE)
  const passages = await Promise.all(Array.from({ length: REPLICAS }, () => openPassage(redis.port)))
  onTestFinished(async () => void (await Promise.all(passages.map((passage) => passage.close()))))
  const cluster = await clusterOver(passages.map(({ port }) => redis.url.replace(`:${redis.port}/`, `:${port}/`)))
  const random = createRandom(SEED + 1)
  const faults = [...replicaFaults(cluster, random), ...redisFaults(redis, random), ...networkFaults(passages, random)]
  await survive(cluster, { faults, troubles: createTroubles(), seconds: SECONDS * 0.6 })
})

it('nor when the master fails over', { timeout: TIMEOUT }, async () => {
  const more = [...DURABLE, ...WATCHED]
  const servers = await Promise.all(Array.from({ length: 3 }, () => redisServer(more)))
  const [master, ...others] = servers
  if (master === undefined) throw new Error('there is a master')
  for (const { admin } of others) await admin.replicaof('127.0.0.1', master.port)
  const linked = async ({ admin }: (typeof servers)[number]) =>
    (await admin.info('replication')).includes('master_link_status:up')
  await until('they are replicas', async () => (await Promise.all(others.map(linked))).every(Boolean), 20)
  const sentinel = await startSentinel(master.port)
  onTestFinished(() => sentinel.stop())
  const url = master.url.replace('redis:', 'redis+sentinel:').replace(`:${master.port}/`, `:${sentinel.port}/main/`)
  const cluster = await clusterOver(Array(REPLICAS).fill(url))
  const random = createRandom(SEED + 2)
  const troubles = createTroubles()
  await survive(cluster, { faults: failovers(servers, random, troubles), troubles, seconds: SECONDS * 0.4 })
})
