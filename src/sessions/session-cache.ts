import type { Clock } from '../core/time.ts'
import { createRecent } from '../store/recent.ts'
import type { EndedSession, SessionRow } from '../store/store.ts'
import type { Session } from './session.ts'

const SESSIONS_MAX = 10_000

interface Held {
  readonly data: string
  readonly session: Session
}

/**
 * Live sessions that were read a moment ago, so that a request of a live session asks nobody. Whoever hears that a session
 * changed or ended calls `forget`. While nothing changes, a session keeps the very same `grant` object.
 *
 * @param freshSeconds how long a row is believed when nobody calls `forget`; 0: every row is read again, and only parsed once
 * @param hearing whether such a call would come; while it would not, nothing is believed
 */
export function createSessionCache(freshSeconds: number, now: Clock, hearing: () => boolean = () => true) {
  const recent = createRecent<Held>({ max: SESSIONS_MAX, freshSeconds, now, hearing })

  function parse(row: SessionRow): Session {
    const last = recent.last(row.idHash)
    return last?.data === row.data ? { ...last.session, deadline: row.deadline } : sessionOf(row)
  }

  return {
    /** A session that lives and was read a moment ago. */
    get(idHash: string): Session | undefined {
      const session = recent.get(idHash)?.session
      return session !== undefined && now() < session.deadline ? session : undefined
    },

    /**
     * Reads a row, and again when the session changed meanwhile, or may have: whoever ended it has already cut the
     * connections that he found.
     */
    async read(
      idHash: string,
      get: () => Promise<SessionRow | EndedSession | undefined>,
    ): Promise<Session | EndedSession | undefined> {
      let ended: EndedSession | undefined
      const live = await recent.read(idHash, async () => {
        const row = await get()
        if (row?.state === 'live') return { data: row.data, session: parse(row) }
        ended = row
        return undefined
      })
      return live?.session ?? ended
    },

    forget: recent.forget,
    forgetAll: recent.forgetAll,
  }
}

/** A session as it was stored. */
export function sessionOf({ idHash, webapp, deadline, data }: SessionRow): Session {
  return { ...(JSON.parse(data) as Omit<Session, 'idHash' | 'webapp' | 'deadline'>), idHash, webapp, deadline }
}

export function rowOf(session: Session): SessionRow {
  const { idHash, webapp, deadline, grant, ...data } = session
  const { senderDomain, shareId } = grant
  return { state: 'live', idHash, webapp, deadline, senderDomain, shareId, data: JSON.stringify({ ...data, grant }) }
}
