import type { RedisBus } from './redis-bus.ts'
import type { Ask, Client } from './redis-connection.ts'
import { keyOf } from './redis-keys.ts'
import type { Workload, WorkloadStore } from './store.ts'

const keyOfWebapp = (webapp: string) => keyOf('workloads', webapp)

/** All of a webapp in one hash, until they are deleted: what was started must be stopped, however late. */
export function createWorkloads(client: Client, ask: Ask, bus: RedisBus): WorkloadStore {
  return {
    put: (workload) =>
      ask(async () => {
        const { webapp, name } = workload
        await bus.tell({ type: 'workload.changed', webapp, name }, async (sender, message) => {
          const written = JSON.stringify(workload)
          return (await client.putWorkload(keyOfWebapp(webapp), name, written, sender, message)) as string[]
        })
      }),
    get: (webapp, name) =>
      ask(async () => {
        const written = await client.hget(keyOfWebapp(webapp), name)
        return written === null ? undefined : (JSON.parse(written) as Workload)
      }),
    delete: (webapp, name) =>
      ask(async () => {
        await bus.tell({ type: 'workload.changed', webapp, name }, async (sender, message) => {
          return (await client.deleteWorkload(keyOfWebapp(webapp), name, sender, message)) as string[]
        })
      }),
    list: (webapp) =>
      ask(async () => (await client.hvals(keyOfWebapp(webapp))).map((written) => JSON.parse(written) as Workload)),
  }
}
