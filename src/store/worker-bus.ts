import { setImmediate } from 'node:timers/promises'
import type { Line } from '../core/line.ts'
import { answering, createListeners, type Tell } from './local.ts'
import type { Bus, BusMessage, Store } from './store.ts'

/** A turn to write; then the others may, and the process sees to its requests. */
const TURN_MS = 50

/** What a worker shares with the others on the same file. */
export interface WorkerBus {
  readonly bus: Bus
  /** To the listeners of this process only. */
  readonly deliver: Tell
  /** To all processes; resolves when every one has heard. */
  readonly tell: (message: BusMessage) => Promise<void>
  /** Runs a write when no other process writes. All of it, and of what it tells, happens in one turn of the event loop. */
  readonly write: <T>(work: () => T) => Promise<T>
  readonly lock: Store['lock']
}

/**
 * The bus and the locks of several workers on one SQLite file: the part of a worker. All goes through the process that
 * started it, and without that process a worker hears nothing and may tell nothing. See `primary-bus.ts`.
 *
 * A lock has no time limit: a worker that dies frees its own.
 */
export async function joinWorkerBus(line: Line): Promise<WorkerBus> {
  const { tell: deliver, subscribe } = createListeners()
  let keys = 0
  line.handle({
    async hear(message: BusMessage) {
      deliver(message)
      // What the listeners began without being waited for (a look at every connection) has had its turn by then.
      await setImmediate()
    },
    settle() {},
  })
  await line.ask('join')

  const lock: Store['lock'] = async (name, _ttlSeconds, work) => {
    keys += 1
    const key = keys
    await answering(() => line.ask('lock', { name, key }))
    try {
      return await work()
    } finally {
      line.ask('unlock', key).catch(() => {})
    }
  }

  return {
    bus: { hearing: () => !line.hasEnded(), settled: () => answering(() => line.ask('settle')), subscribe },
    deliver,
    // Sent before anything else can happen here: `settled` counts on it.
    tell(message) {
      const told = line.ask('tell', message)
      deliver(message)
      return told
    },
    write: createWrites(lock),
    lock,
  }
}

/**
 * SQLite makes a second writer stand still, with all that its process serves, and asks again later and later. So writes
 * take turns, and whoever has the turn writes a few of those that wait.
 */
function createWrites(lock: Store['lock']): WorkerBus['write'] {
  const waiting: { run(): void; fail(error: Error): void }[] = []

  let turning = false

  async function takeTurns(): Promise<void> {
    turning = true
    const writeSome = async () => {
      const end = performance.now() + TURN_MS
      do waiting.shift()?.run()
      while (waiting.length > 0 && performance.now() < end)
    }
    try {
      while (waiting.length > 0) await lock('write', 0, writeSome)
    } catch (error) {
      for (const { fail } of waiting.splice(0)) fail(error as Error)
    } finally {
      turning = false
    }
  }

  return (work) =>
    new Promise((resolve, reject) => {
      const run = () => {
        try {
          resolve(work())
        } catch (error) {
          reject(error)
        }
      }
      waiting.push({ run, fail: reject })
      if (!turning) void takeTurns()
    })
}
