import cluster from 'node:cluster'
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { createMetrics } from '../admin/metrics.ts'
import { type Counted, createWorkerMetrics } from '../admin/worker-metrics.ts'
import { readFromDisk } from '../config/read.ts'
import type { GatewayConfig } from '../config/schema.ts'
import { unavailable } from '../core/errors.ts'
import { createEvents, type Events } from '../core/events.ts'
import type { Line } from '../core/line.ts'
import { startAdmin } from '../gateway.ts'
import type { Taken } from '../http/rate-limits.ts'
import { createPrimaryBus } from '../store/primary-bus.ts'
import { holdDatabase } from '../store/sqlite-database.ts'
import { loadSigningKey } from '../trust/signing-key.ts'
import { type Crew, createCrew, type Member } from './crew.ts'
import type { Beginning, Files } from './worker.ts'

/** What a worker is given to say how it is. */
const ANSWER_MS = 2000
/** For what follows the draining of a worker. */
const CLOSING_MS = 10_000

interface Parts {
  readonly log: Logger
  /** How many. */
  readonly workers: number
  /** The arguments that make this very program a worker. */
  readonly args: readonly string[]
  /** What was read for the configuration. */
  readonly files: Files
}

/**
 * Several processes that serve, and this one, which serves nobody: it holds the store in SQLite, hands out connections, and
 * answers for all on the admin listener. See `worker.ts` and `store/primary-bus.ts`.
 *
 * @throws {Error} when the store, the key or an address cannot be had
 */
export async function startPrimary(initial: GatewayConfig, { log, workers, args, files }: Parts) {
  await using opened = new AsyncDisposableStack()
  const events = createEvents(log)
  const { store } = initial
  if (store.kind === 'sqlite') opened.use(holdDatabase(store.file))
  const keys = await readKeys(initial, events)
  const first: Files = { ...files, ...keys }
  let [config, latest] = [initial, first]

  const bus = createPrimaryBus()
  const registry = createMetrics(events, { sessions: async () => [], shares: async () => [] })
  const counted = new WeakMap<Member, Counted>()
  /** Which configuration a worker has. */
  const held = new WeakMap<Line, Files>()
  const metrics = createWorkerMetrics(registry, () => Promise.all(crew.all().map(count)))
  cluster.setupPrimary({ args: [...args], serialization: 'advanced' })
  cluster.schedulingPolicy = cluster.SCHED_RR
  const crew = createCrew({
    size: workers,
    events,
    serve({ worker, line }) {
      bus.serve(line)
      const begin = (): Beginning => {
        held.set(line, latest)
        return { worker, first, latest }
      }
      line.handle({ begin, taken: (all: readonly Taken[]) => void passOn(line, all) })
    },
    onEnd(member) {
      bus.leave(member.line)
      void metrics.keep(counted.get(member) ?? [])
    },
  })
  opened.use(crew)

  /** What one worker takes of a rate, the others must not have. */
  function passOn(from: Line, all: readonly Taken[]): void {
    for (const { line } of crew.all()) if (line !== from) line.ask('takenElsewhere', all).catch(() => {})
  }

  async function count(member: Member): Promise<Counted> {
    const answer = await soon(member.line.ask<Counted>('metrics')).catch(() => counted.get(member) ?? [])
    counted.set(member, answer)
    return answer
  }

  /** The first that answers decides for all. */
  async function offer(files: Files): Promise<void> {
    let taken = false
    for (const { line } of crew.all().filter((member) => member.isServing())) {
      try {
        await line.ask('reload', files)
        held.set(line, files)
        taken = true
      } catch (error) {
        if (!taken && !line.hasEnded()) throw error
      }
    }
    if (!taken) throw new Error('no worker serves now; try again')
  }

  const url = await crew.start()
  let ending = false
  const accepting = async () => {
    if (ending) throw unavailable('draining', 'the gateway is shutting down')
  }
  const numbers = Array.from({ length: workers }, (_, index) => index + 1)
  const checks = Object.fromEntries(numbers.map((worker) => [`worker ${worker}`, () => checkWorker(crew, worker)]))
  const admin = await startAdmin(initial, { checks: { ...checks, accepting }, metrics })
  opened.defer(() => admin.close())
  events.listening({ url, adminUrl: admin.url, workers })
  const owned = opened.move()

  return {
    url,
    adminUrl: admin.url,
    events,
    /** @throws {Error} when a worker says that something in it cannot be had; none has taken it then */
    async reload(next: GatewayConfig, read: Files): Promise<void> {
      const candidate = { ...read, ...keys }
      await offer(candidate)
      config = next
      latest = candidate
      // Who could not follow, or began meanwhile with what was before, begins again.
      for (const { line, kill } of crew.all()) if ((held.get(line) ?? latest) !== latest) kill()
    },
    /** Is not ready from now on, lets every worker end what is under way in good order, then closes everything. */
    async close(): Promise<void> {
      ending = true
      crew.end()
      const { drainDelay, drainTimeout } = config.server
      await Promise.all(crew.all().map((member) => drain(member, (drainDelay + drainTimeout) * 1000 + CLOSING_MS)))
      await owned.disposeAsync()
    },
  }
}

/** They stay what they are at the start, whatever becomes of the files. */
async function readKeys({ server }: GatewayConfig, events: Events): Promise<Files> {
  const { signingKeyFile: file, furtherSigningKeyFiles, publicUrl } = server
  const { created, keyid: kid } = await loadSigningKey(file, new URL(publicUrl).host, furtherSigningKeyFiles)
  if (created) events.signingKeyCreated({ file, kid })
  return Object.fromEntries([file, ...furtherSigningKeyFiles].map((path) => [path, readFromDisk(path)]))
}

async function checkWorker(crew: Crew, worker: number): Promise<void> {
  const member = crew.serving(worker)
  if (member === undefined) throw new Error('is being started')
  const checks = await soon(member.line.ask<Record<string, string>>('ready'))
  const wrong = Object.entries(checks).filter(([, outcome]) => outcome !== 'ok')
  if (wrong.length > 0) throw new Error(wrong.map((check) => check.join(': ')).join('; '))
}

async function drain({ line, ended, kill }: Member, milliseconds: number): Promise<void> {
  const drained = line.ask('drain').then(() => ended)
  await within(milliseconds, drained).catch(() => {})
  kill()
  await ended
}

const soon = <T>(answer: Promise<T>): Promise<T> => within(ANSWER_MS, answer)

/** @throws {Error} when it takes longer, or fails */
async function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  const over = new AbortController()
  const late = pause(milliseconds, undefined, { signal: over.signal }).then(() => {
    throw new Error('does not answer')
  })
  try {
    return await Promise.race([work, late])
  } finally {
    over.abort()
  }
}
