import type { Store } from './store.ts'

/** The same store, each operation of its rooms timed (seconds) under a name such as `sessions.get`. */
export function timed(store: Store, observe: (operation: string, seconds: number) => void): Store {
  const { shares, sessions, workloads, notes } = store
  return { ...store, ...timeEach({ shares, sessions, workloads, notes }, observe) }
}

type Operation = (...args: never[]) => Promise<unknown>

function timeEach<Rooms extends Record<string, object>>(
  rooms: Rooms,
  observe: (operation: string, seconds: number) => void,
): Rooms {
  const wrap =
    (name: string, operation: Operation) =>
    async (...args: never[]) => {
      const startedAt = performance.now()
      try {
        return await operation(...args)
      } finally {
        observe(name, (performance.now() - startedAt) / 1000)
      }
    }
  const timedRoom = (room: string, operations: object) =>
    Object.fromEntries(
      Object.entries(operations).map(([name, operation]) => [name, wrap(`${room}.${name}`, operation)]),
    )
  return Object.fromEntries(
    Object.entries(rooms).map(([room, operations]) => [room, timedRoom(room, operations)]),
  ) as Rooms
}
