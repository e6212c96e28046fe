import type { Ask, Client } from './redis-connection.ts'
import { keyOf } from './redis-keys.ts'
import type { Workload, WorkloadStore } from './store.ts'

const keyOfWebapp = (webapp: string) => keyOf('workloads', webapp)

/** All of a webapp in one hash, until they are deleted: what was started must be stopped, however late. */
export function createWorkloads(client: Client, ask: Ask): WorkloadStore {
  return {
    put: (workload) =>
      ask(async () => {
        await client.hset(keyOfWebapp(workload.webapp), workload.name, JSON.stringify(workload))
      }),
    get: (webapp, name) =>
      ask(async () => {
        const written = await client.hget(keyOfWebapp(webapp), name)
        return written === null ? undefined : (JSON.parse(written) as Workload)
      }),
    delete: (webapp, name) =>
      ask(async () => {
        await client.hdel(keyOfWebapp(webapp), name)
      }),
    list: (webapp) =>
      ask(async () => (await client.hvals(keyOfWebapp(webapp))).map((written) => JSON.parse(written) as Workload)),
  }
}
