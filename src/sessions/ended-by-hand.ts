import type { Clock } from '../core/time.ts'
import type { NoteStore } from '../store/store.ts'
import type { Session } from './session.ts'

const SPACE = 'ended by hand'
/** Longer than a gateway that runs needs; one that starts looks through everything by itself. */
const KEEP_SECONDS = 600
const AT_ONCE = 100

/**
 * What an operator’s command has ended, until a gateway has stopped what was started for it: the command itself knows no
 * apps, and a gateway that hears of the end of a session no longer knows whose it was.
 */
export function createEndedByHand({ notes, now }: { notes: NoteStore; now: Clock }) {
  return {
    async leave(session: Session): Promise<void> {
      const expiresAt = now() + KEEP_SECONDS
      await notes.put({ space: SPACE, id: session.idHash, data: JSON.stringify(session), expiresAt })
    },

    /** Sessions that were left. Taken once, by whoever comes first; two may take the same at the same moment. */
    async take(): Promise<Session[]> {
      const left = await notes.list(SPACE, '', AT_ONCE)
      for (const { id } of left) await notes.delete(SPACE, id)
      return left.map(({ data }) => JSON.parse(data) as Session)
    },
  }
}
