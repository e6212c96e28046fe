import type { Line } from '../core/line.ts'
import type { BusMessage } from './store.ts'

interface Waiter {
  readonly line: Line
  readonly key: number
  readonly grant: () => void
}

/**
 * The bus and the locks of several workers on one SQLite file: the part of the process that started them. What one worker
 * tells reaches every other, and counts as told when each has answered or has ended. See `worker-bus.ts`.
 *
 * Does NOT limit how long a worker may take to answer: whoever started it has to end one that hangs.
 */
export function createPrimaryBus() {
  const members = new Set<Line>()
  const telling = new Set<Promise<unknown>>()
  const queues = new Map<string, Waiter[]>()

  /** Who has ended has heard. */
  const everyone = (name: string, body: unknown, but?: Line) =>
    Promise.all([...members].filter((line) => line !== but).map((line) => line.ask(name, body).catch(() => {})))

  async function tell(message: BusMessage, but?: Line): Promise<void> {
    const told = everyone('hear', message, but)
    telling.add(told)
    await told
    telling.delete(told)
  }

  /**
   * A worker sends what it tells before it does anything else. So when all have answered, all that was written before is
   * told, or is being told.
   */
  async function settled(): Promise<void> {
    await everyone('settle', undefined)
    await Promise.all(telling)
  }

  function lock(line: Line, { name, key }: { name: string; key: number }): Promise<void> {
    return new Promise((grant) => {
      const queue = queues.get(name) ?? []
      queues.set(name, queue)
      queue.push({ line, key, grant })
      if (queue.length === 1) grant()
    })
  }

  function unlock(isFree: (waiter: Waiter) => boolean): void {
    for (const [name, queue] of queues) {
      const [holder] = queue
      const left = queue.filter((waiter) => !isFree(waiter))
      if (left.length === 0) queues.delete(name)
      else queues.set(name, left)
      if (left[0] !== holder) left[0]?.grant()
    }
  }

  return {
    /** Answers a worker that was just started; from `join` on it is told everything. */
    serve(line: Line): void {
      line.handle({
        join: () => void members.add(line),
        tell: (message: BusMessage) => tell(message, line),
        settle: settled,
        lock: (wish: { name: string; key: number }) => lock(line, wish),
        unlock: (key: number) => unlock((waiter) => waiter.line === line && waiter.key === key),
      })
    },

    /** A worker has ended. It may have written something, and died before it told: nobody knows anything for certain. */
    leave(line: Line): void {
      if (members.delete(line)) void tell({ type: 'missed' })
      line.end()
      unlock((waiter) => waiter.line === line)
    },
  }
}
