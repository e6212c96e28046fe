import { randomBytes } from 'node:crypto'
import { createLocalLock } from './local.ts'
import type { Ask, Client } from './redis-connection.ts'
import { freedOf, PREFIX } from './redis-scripts.ts'
import type { Store } from './store.ts'

/** Who waits asks again after this time, if nobody says earlier that the lock was freed. */
const POLL_MS = 250

/**
 * Locks among processes. Within one process it is first come, first served; among processes, who asks first when a lock is
 * freed. The lock is renewed while the work runs.
 *
 * Does NOT stop work whose lock was lost because Redis was gone for longer than `ttlSeconds`.
 */
export function createRedisLock(client: Client, subscriber: Client, ask: Ask, db: number): Store['lock'] {
  const here = createLocalLock()
  const waiting = new Map<string, () => void>()
  const freed = freedOf(db)
  subscriber.on('message', (on: string, key: string) => {
    if (on === freed) waiting.get(key)?.()
  })
  // Without the subscription, who waits asks again all the same.
  const listen = () => void subscriber.subscribe(freed).catch(() => {})
  subscriber.on('ready', listen)
  listen()

  function freedOrPolled(key: string): Promise<void> {
    return new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, POLL_MS * (0.5 + Math.random()))
      waiting.set(key, () => {
        clearTimeout(timer)
        resolve()
      })
    }).finally(() => waiting.delete(key))
  }

  async function acquire(key: string, token: string, ttlMs: number): Promise<void> {
    while ((await ask(() => client.set(key, token, 'PX', ttlMs, 'NX'))) === null) await freedOrPolled(key)
  }

  return (name, ttlSeconds, work) =>
    here(name, ttlSeconds, async () => {
      const [key, token, ttlMs] = [
        `${PREFIX}lock ${name}`,
        randomBytes(16).toString('hex'),
        Math.ceil(ttlSeconds * 1000),
      ]
      await acquire(key, token, ttlMs)
      const renewal = setInterval(() => void client.renewLock(key, token, ttlMs).catch(() => {}), ttlMs / 3)
      try {
        return await work()
      } finally {
        clearInterval(renewal)
        // What is not freed now, frees itself.
        await client.releaseLock(key, token).catch(() => {})
      }
    })
}
