import type { Client } from './redis-connection.ts'

/** Reads what decides whether somebody is let in. */
export interface Reads {
  share(key: string): Promise<string | null>
  session(key: string): Promise<Readonly<Record<string, string>>>
}

/** From a server that nothing takes the place of. */
export function plainReads(client: Client): Reads {
  return { share: (key) => client.get(key), session: (key) => client.hgetall(key) }
}

/**
 * From a master that Sentinels watch: one that was replaced and does not know it yet has no replicas, and refuses these as
 * it refuses writes, when the operator of Redis has set `min-replicas-to-write`.
 */
export function guardedReads(client: Client): Reads {
  return {
    share: async (key) => (await client.readShare(key)) as string | null,
    async session(key) {
      const flat = (await client.readSession(key)) as string[]
      const names = flat.filter((_, index) => index % 2 === 0)
      return Object.fromEntries(names.map((name, index) => [name, flat[2 * index + 1] ?? '']))
    },
  }
}

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
