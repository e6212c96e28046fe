import type { Awaitable } from '../core/awaitable.ts'
import type { Clock } from '../core/time.ts'
import { createRecent } from './recent.ts'
import type { Store, Workload } from './store.ts'

const MAX = 10_000
const FRESH_SECONDS = 60

/** As `store.workloads.get`, but at once, and always the very same object, while nothing changes. */
export type RecentWorkloads = (webapp: string, name: string) => Awaitable<Workload | undefined>

/** For requests: what an app kind keeps of what it started is needed with each of them, and changes once an hour. */
export function createRecentWorkloads(
  { workloads, bus }: Pick<Store, 'workloads' | 'bus'>,
  now: Clock,
): RecentWorkloads {
  const recent = createRecent<Workload>({ max: MAX, freshSeconds: FRESH_SECONDS, now, hearing: bus.hearing })
  const keyOf = (webapp: string, name: string) => `${webapp} ${name}`
  bus.subscribe((message) => {
    if (message.type === 'missed') recent.forgetAll()
    else if (message.type === 'workload.changed') recent.forget(keyOf(message.webapp, message.name))
  })
  return (webapp, name) => {
    const key = keyOf(webapp, name)
    return recent.get(key) ?? recent.read(key, () => workloads.get(webapp, name))
  }
}
