import { setTimeout as pause } from 'node:timers/promises'
import type { Ask, Client } from './redis-connection.ts'
import type { Replicated } from './redis-replication.ts'

/** What was answered longer ago is on every server that may become the master. */
const KEPT_MS = 60_000
/** Characters of all that is kept; beyond, the oldest is not. */
const KEPT_MAX = 16_000_000
/** What something takes beside its text. */
const OVERHEAD = 1000
const AT_ONCE = 100
const RETRY_MS = 250

/** Writes again what was answered, unless it is there, or something newer is. @returns whether it had been lost */
type Again = () => Promise<boolean>

export interface Redo {
  /** Whether this master has all that was answered here. Until then nothing that it has may be believed. */
  settled(): boolean
  /** Asks it, and believes the answer when it is settled from the first command to the last. */
  readonly ask: Ask
  /**
   * Remembers what was written, in place of what was under this name before.
   *
   * @param size characters that `again` holds on to
   */
  keep(name: string, size: number, again: Again): void
  /** Whether something is kept under this name. */
  keeps(name: string): boolean
  close(): void
}

/** For a server that nothing takes the place of. */
export const nothingKept = (ask: Ask): Redo => ({
  ...{ settled: () => true, ask, keep: () => {}, keeps: () => false, close: () => {} },
})

interface Kept {
  readonly again: Again
  readonly size: number
  at: number
}

/**
 * For a master that Sentinels watch: what one of them answered may be lost with it, so this process keeps it for a while,
 * and writes it again when it finds another one, before anything else is asked. A master is another one when its replication
 * id is: it changes with every promotion and every start.
 *
 * Does NOT outlive this process, and does NOT keep more than `KEPT_MAX`.
 *
 * @param warn told once of each master from which something had been lost
 * @throws {Error} when the master cannot be asked who it is
 */
export async function openRedo(
  client: Client,
  ask: Ask,
  { replicated, warn }: { replicated: Replicated; warn: (message: string) => void },
): Promise<Redo> {
  const kept = new Map<string, Kept>()
  let held = 0
  let connection = 0
  let settled = true
  let history = await historyOf(client)

  function forget(name: string): void {
    held -= kept.get(name)?.size ?? 0
    kept.delete(name)
  }

  function forgetOld(): void {
    const since = performance.now() - KEPT_MS
    for (const [name, { at }] of kept) {
      if (at > since && held <= KEPT_MAX) return
      forget(name)
    }
  }

  /** @returns how much had been lost */
  async function writeAgain(): Promise<number> {
    const all = [...kept.values()]
    let lost = 0
    for (let start = 0; start < all.length; start += AT_ONCE) {
      const outcomes = await Promise.all(all.slice(start, start + AT_ONCE).map(({ again }) => again()))
      lost += outcomes.filter(Boolean).length
    }
    if (lost > 0) await replicated()
    for (const each of all) each.at = performance.now()
    return lost
  }

  /** Of one connection: tries until everything is written, or the connection ends. */
  async function settle(): Promise<void> {
    const mine = connection
    while (mine === connection) {
      try {
        const found = await historyOf(client)
        const lost = found === history ? 0 : await writeAgain()
        if (mine !== connection) return
        history = found
        settled = true
        if (lost > 0)
          warn(`a failover of Redis lost ${lost} of the last writes of this gateway; they are written again`)
        return
      } catch {
        await pause(RETRY_MS)
      }
    }
  }

  function leave(): void {
    // While there is no connection nothing gets older: when it will be lost or found is not known yet.
    if (settled) forgetOld()
    connection += 1
    settled = false
  }

  const enter = () => void settle()
  client.on('close', leave).on('ready', enter)
  return {
    settled: () => settled,
    ask: (work) =>
      ask(async () => {
        const before = connection
        const check = () => {
          if (!settled || before !== connection) throw new Error('the master is another one than before')
        }
        check()
        const answer = await work()
        check()
        return answer
      }),
    keep(name, size, again) {
      forget(name)
      kept.set(name, { again, size: size + OVERHEAD, at: performance.now() })
      held += size + OVERHEAD
      forgetOld()
    },
    keeps: (name) => kept.has(name),
    close() {
      client.off('close', leave).off('ready', enter)
      leave()
      kept.clear()
    },
  }
}

/** @throws {Error} when it does not say: then nobody can tell one master from another */
async function historyOf(client: Client): Promise<string> {
  const [, id] = /^master_replid:(\w+)/m.exec(await client.info('replication')) ?? []
  if (id === undefined) throw new Error('it does not tell its master_replid')
  return id
}
