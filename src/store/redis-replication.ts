import type { Client } from './redis-connection.ts'

const WAIT_MS = 500
/** Without a replica that answers in time, nobody waits for one for so long: the connection stands still meanwhile. */
const PAUSE_MS = 1000

/** Resolves when what was written last is where a failover would find it, or cannot be for now. Does not reject. */
export type Replicated = () => Promise<void>

/** For a server that nothing takes the place of. */
export const notReplicated: Replicated = async () => {}

/**
 * For a master that Sentinels watch: one replica has it, too.
 *
 * Does NOT refuse what no replica takes in time; `min-replicas-to-write` does, when the operator of Redis wants so.
 */
export function createReplicated(client: Client): Replicated {
  let pausedUntil = 0
  return async () => {
    if (performance.now() < pausedUntil) return
    const replicas = await client.wait(1, WAIT_MS).catch(() => 0)
    if (replicas === 0) pausedUntil = performance.now() + PAUSE_MS
  }
}
