import type { Events, Party } from '../core/events.ts'
import type { Clock } from '../core/time.ts'
import type { Bus } from '../store/store.ts'
import { partyOf, type Session } from './session.ts'

/** Bytes on the connection, headers included. */
export interface Amount {
  readonly bytesIn: number
  readonly bytesOut: number
}

interface Tally {
  readonly party: Party
  readonly since: number
  requests: number
  bytesIn: number
  bytesOut: number
}

const CLOSING_MS = 1000

export type Traffic = ReturnType<typeof createTraffic>

/**
 * What went through this process for each session, told when the session ends, and of those that go on from time to time:
 * what was told is counted anew, so that the sum over all processes is the whole.
 */
export function createTraffic({ bus, events, now }: { bus: Bus; events: Events; now: Clock }) {
  const tallies = new Map<string, Tally>()

  function tell(idHash: string): void {
    const tally = tallies.get(idHash)
    if (tally === undefined) return
    tallies.delete(idHash)
    const { party, since, requests, bytesIn, bytesOut } = tally
    events.sessionTraffic({ ...party, requests, bytesIn, bytesOut, seconds: Math.round(now() - since) })
  }

  // Its connections are being cut, and count themselves as they close.
  bus.subscribe((message) => {
    if (message.type === 'session.ended') setTimeout(() => tell(message.idHash), CLOSING_MS).unref()
  })

  return {
    /** One request, or one WebSocket, that is over. */
    count(session: Session, { bytesIn, bytesOut }: Amount): void {
      const fresh = () => ({ party: partyOf(session), since: now(), requests: 0, bytesIn: 0, bytesOut: 0 })
      const tally = tallies.get(session.idHash) ?? fresh()
      tally.requests += 1
      tally.bytesIn += bytesIn
      tally.bytesOut += bytesOut
      tallies.set(session.idHash, tally)
    },
    /** Tells what has been counted for so many seconds, of whatever session. */
    tell(seconds: number): void {
      for (const [idHash, { since }] of [...tallies]) if (now() - since >= seconds) tell(idHash)
    },
  }
}
