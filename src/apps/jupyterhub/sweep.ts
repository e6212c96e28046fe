import { asGatewayError } from '../../core/errors.ts'
import type { Clock } from '../../core/time.ts'
import type { IsClaimed } from '../app.ts'
import type { HubClient } from './hub-client.ts'
import { isHubUserOfOurs } from './hub-user.ts'
import type { Servers } from './servers.ts'

const AT_ONCE = 5
/** Listing all users of a large hub is work for it. */
const STRAYS_EVERY_SECONDS = 3600

/** Nothing can be swept while these last; the next sweep tries again. */
const HOPELESS: ReadonlySet<string> = new Set(['hub_unavailable', 'hub_refused', 'store_unavailable'])

/**
 * Removes servers whose share nobody has open, stops those that nobody uses and, at first and every hour, removes users
 * that are ours by name but unknown to the store. One sweep at a time; a server that fails does not keep the others.
 */
export function createSweep({ servers, hub, now }: { servers: Servers; hub: HubClient; now: Clock }) {
  let straysDue = now()
  let sweeping: Promise<void> | undefined

  async function attempt(name: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (HOPELESS.has(asGatewayError(error).reason)) throw error
      servers.tellFailure(name, error)
    }
  }

  async function sweepStrays(): Promise<void> {
    const strays = (await hub.listUsers()).filter(isHubUserOfOurs)
    await fewAtOnce(strays, (name) => attempt(name, () => servers.removeStray(name)))
    straysDue = now() + STRAYS_EVERY_SECONDS
  }

  async function sweep(isClaimed: IsClaimed): Promise<void> {
    await servers.resume()
    const workloads = await servers.list()
    await fewAtOnce(workloads, (workload) => attempt(workload.name, () => servers.tidy(workload, isClaimed)))
    if (now() >= straysDue) await sweepStrays()
  }

  return (isClaimed: IsClaimed): Promise<void> => {
    sweeping ??= sweep(isClaimed).finally(() => {
      sweeping = undefined
    })
    return sweeping
  }
}

async function fewAtOnce<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values()
  const worker = async () => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}
