import type { Line } from '../core/line.ts'
import type { Secret } from '../core/secret.ts'
import type { Clock } from '../core/time.ts'
import { createMemoryStore } from './memory.ts'
import type { RedisAddress } from './redis-connection.ts'
import { type Beside, openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'
import { joinWorkerBus } from './worker-bus.ts'

/** Which store: `store` of the configuration, parsed. */
export type StoreConfig =
  | { readonly kind: 'memory' }
  | { readonly kind: 'sqlite'; readonly file: string }
  | ({ readonly kind: 'redis' } & RedisAddress)

interface Options {
  readonly now: Clock
  /** Of Redis; over the one in its URL. */
  readonly password?: Secret | undefined
  /** Of a file: a gateway uses it too. */
  readonly beside?: Beside
  /** Of a worker: the process that keeps the file for it and others. */
  readonly primary?: Line | undefined
  /** Told what the operator of the store should change. */
  readonly warn?: (message: string) => void
}

/** @throws {GatewayError} `store_unavailable` when it cannot be opened, with why in the message */
export async function openStore(config: StoreConfig, options: Options): Promise<Store> {
  const { now, password, primary, warn = () => {} } = options
  switch (config.kind) {
    case 'memory':
      return createMemoryStore(options)
    case 'sqlite':
      return openSqliteStore(config.file, { ...options, among: primary && (await joinWorkerBus(primary)) })
    case 'redis': {
      // ioredis is loaded where there is a Redis.
      const { openRedisStore } = await import('./redis.ts')
      return openRedisStore({ ...config, password: password ?? config.password }, { now, warn })
    }
  }
}
