import { setTimeout as pause } from 'node:timers/promises'

/**
 * Asks again until there is an answer (anything but `undefined` and `false`).
 *
 * @throws {Error} when there is none in time: `what` says what was waited for
 */
export async function until<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  seconds = 10,
): Promise<T> {
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (performance.now() > deadline) throw new Error(`after ${seconds} s still not: ${what}`)
    await pause(10)
  }
}
