import { setTimeout as wait } from 'node:timers/promises'
import { unavailable } from '../../core/errors.ts'

/** A minute in all; whoever is still waiting then tries again later, as the sweep does. */
const PAUSES_SECONDS = [0.1, 0.2, 0.5, 1, 2, ...Array<number>(12).fill(5)]

/**
 * Asks the hub the same thing at growing intervals, until it is done with what it was busy with.
 *
 * @throws {GatewayError} 503 `hub_pending` when that takes more than a minute
 */
export async function untilSettled(ask: () => Promise<boolean>): Promise<void> {
  for (const seconds of PAUSES_SECONDS) {
    if (await ask()) return
    await wait(seconds * 1000)
  }
  throw unavailable('hub_pending', 'The notebook service is still busy with this server. Try again in a minute.')
}
