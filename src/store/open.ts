import type { Secret } from '../core/secret.ts'
import type { Clock } from '../core/time.ts'
import { createMemoryStore } from './memory.ts'
import { openRedisStore } from './redis.ts'
import type { RedisAddress } from './redis-connection.ts'
import { type Beside, openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

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
  /** Told what the operator of the store should change. */
  readonly warn?: (message: string) => void
}

/** @throws {GatewayError} `store_unavailable` when it cannot be opened, with why in the message */
export async function openStore(config: StoreConfig, options: Options): Promise<Store> {
  const { now, password, warn = () => {} } = options
  switch (config.kind) {
    case 'memory':
      return createMemoryStore(options)
    case 'sqlite':
      return openSqliteStore(config.file, options)
    case 'redis':
      return openRedisStore({ ...config, password: password ?? config.password }, { now, warn })
  }
}
