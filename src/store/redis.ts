import { unavailable } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import { openRedisBus } from './redis-bus.ts'
import { inspectServer } from './redis-checks.ts'
import {
  asking,
  type Client,
  connect,
  createClient,
  describeAddress,
  keepConnected,
  type RedisAddress,
} from './redis-connection.ts'
import { createRedisLock } from './redis-lock.ts'
import { createNotes } from './redis-notes.ts'
import { nothingKept, openRedo } from './redis-redo.ts'
import { createReplicated, guardedReads, notReplicated, plainReads } from './redis-replication.ts'
import { createSessions } from './redis-sessions.ts'
import { createShares } from './redis-shares.ts'
import { createWorkloads } from './redis-workloads.ts'
import type { ShareKey, Store } from './store.ts'

/**
 * A store in Redis, for any number of processes. It is as durable as Redis is configured to be.
 *
 * @param warn told what the operator of Redis should change
 * @throws {GatewayError} `store_unavailable` when it cannot be reached or used, with why in the message
 */
export async function openRedisStore(
  address: RedisAddress,
  { now, warn }: { now: Clock; warn: (message: string) => void },
): Promise<Store> {
  const [client, subscriber] = [createClient(address), createClient(address)]
  try {
    return await open(client, subscriber, { address, now, warn })
  } catch (error) {
    for (const each of [client, subscriber]) each.disconnect()
    // Not as `cause`: a command that failed carries its arguments, the password among them.
    const { message } = error as Error
    throw unavailable('store_unavailable', `The store ${describeAddress(address)} cannot be used: ${message}`)
  }
}

interface Opening {
  readonly address: RedisAddress
  readonly now: Clock
  readonly warn: (message: string) => void
}

async function open(client: Client, subscriber: Client, { address, now, warn }: Opening): Promise<Store> {
  const { db, master } = address
  await connect(client)
  for (const warning of await inspectServer(client)) warn(warning)
  await connect(subscriber)
  const bus = await openRedisBus(client, subscriber, asking, db)
  const replicated = master === undefined ? notReplicated : createReplicated(client)
  const redo = master === undefined ? nothingKept(asking) : await openRedo(client, asking, { replicated, warn })
  const { ask } = redo
  const disconnect = [client, subscriber].map(keepConnected)
  const reads = master === undefined ? plainReads(client) : guardedReads(client)
  const writtenAgain = (key: ShareKey) => bus.tellHere({ type: 'share.again', ...key })
  return {
    shares: createShares(client, { now, reads, replicated, redo, writtenAgain }),
    sessions: createSessions(client, { now, bus, reads, replicated, redo }),
    workloads: createWorkloads(client, ask, bus),
    notes: createNotes(client, ask, now),
    bus: { ...bus.bus, hearing: () => redo.settled() && bus.bus.hearing() },
    lock: createRedisLock(client, subscriber, ask, db),
    ping: () => ask(async () => void (await client.ping())),
    async close() {
      redo.close()
      await bus.close()
      for (const each of disconnect) each()
    },
  }
}
