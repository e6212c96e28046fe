import { unavailable } from '../core/errors.ts'
import type { Bus, BusMessage, Store } from './store.ts'

/** Runs one store operation; whatever it throws means that the store cannot answer. */
export async function answering<T>(operation: () => T): Promise<T> {
  try {
    return operation()
  } catch (cause) {
    throw unavailable('store_unavailable', 'The gateway’s store does not answer; please try again shortly.', { cause })
  }
}

/** A bus for a store that one process has to itself. */
export function createLocalBus(): Bus {
  const subscriptions = new Set<{ readonly listener: (message: BusMessage) => void }>()
  return {
    immediate: true,
    async publish(message) {
      for (const { listener } of [...subscriptions]) listener(message)
    },
    subscribe(listener) {
      const subscription = { listener }
      subscriptions.add(subscription)
      return () => {
        subscriptions.delete(subscription)
      }
    },
  }
}

/**
 * Locks for a store that one process has to itself: a queue per name, first come, first served.
 * There is no time limit, since a holder cannot die without taking its locks along.
 */
export function createLocalLock(): Store['lock'] {
  const queues = new Map<string, Promise<unknown>>()
  return async (name, _ttlSeconds, work) => {
    const turn = (queues.get(name) ?? Promise.resolve()).then(() => work())
    const settled = turn.catch(() => undefined)
    queues.set(name, settled)
    try {
      return await turn
    } finally {
      if (queues.get(name) === settled) queues.delete(name)
    }
  }
}
