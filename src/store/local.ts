import { unavailable } from '../core/errors.ts'
import type { Bus, BusMessage, Store } from './store.ts'

/** Runs one store operation; whatever it throws means that the store cannot answer. */
export async function answering<T>(operation: () => T | Promise<T>): Promise<T> {
  try {
    return await operation()
  } catch (cause) {
    throw unavailable('store_unavailable', 'The gateway’s store does not answer; please try again shortly.', { cause })
  }
}

/** Tells all listeners of this process, each message to each of them before it returns. */
export type Tell = (message: BusMessage) => void

/** Listeners of one process. */
export function createListeners(): { tell: Tell; subscribe: Bus['subscribe'] } {
  const subscriptions = new Set<{ readonly listener: Tell }>()
  return {
    tell(message) {
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

/** A bus for a store that one process has to itself. */
export function createLocalBus(): { bus: Bus; tell: Tell } {
  const { tell, subscribe } = createListeners()
  return { bus: { hearing: () => true, settled: async () => {}, subscribe }, tell }
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
