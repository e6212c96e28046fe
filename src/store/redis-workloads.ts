import type { RedisBus } from './redis-bus.ts'
import type { Ask, Client } from './redis-connection.ts'
import { keyOf } from './redis-keys.ts'
import type { Workload, WorkloadStore } from './store.ts'

const keyOfWebapp = (webapp: string) => keyOf('workloads', webapp)

/** All of a webapp in one hash, until they are deleted: what was started must be stopped, however late. */
export function createWorkloads(client: Client, ask: Ask, bus: RedisBus): WorkloadStore {
  const change = (webapp: string, name: string, run: (sender: string, message: string) => Promise<unknown>) =>
    ask(async () => {
      const publish = async (sender: string, message: string) => (await run(sender, message)) as string[]
      await bus.tell({ type: 'workload.changed', webapp, name }, publish)
    })
  return {
    put: (workload) => {
      const { webapp, name } = workload
      const written = JSON.stringify(workload)
      return change(webapp, name, (...telling) => client.putWorkload(keyOfWebapp(webapp), name, written, ...telling))
    },
    get: (webapp, name) =>
      ask(async () => {
        const written = await client.hget(keyOfWebapp(webapp), name)
        return written === null ? undefined : (JSON.parse(written) as Workload)
      }),
    delete: (webapp, name) =>
      change(webapp, name, (...telling) => client.deleteWorkload(keyOfWebapp(webapp), name, ...telling)),
    list: (webapp) =>
      ask(async () => (await client.hvals(keyOfWebapp(webapp))).map((written) => JSON.parse(written) as Workload)),
  }
}
