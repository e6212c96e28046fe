import type { Clock } from '../core/time.ts'
import { createMemoryStore } from './memory.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/** Which store: `store` of the configuration, parsed. */
export type StoreConfig = { readonly kind: 'memory' } | { readonly kind: 'sqlite'; readonly file: string }

/** @throws {GatewayError} `store_unavailable` when it cannot be opened, with why in the message */
export function openStore(config: StoreConfig, options: { now: Clock; readOnly?: boolean }): Store {
  return config.kind === 'memory' ? createMemoryStore(options) : openSqliteStore(config.file, options)
}
