import type { Clock } from '../core/time.ts'
import type { EndedSession, SessionRow } from '../store/store.ts'
import type { Session } from './session.ts'

const SESSIONS_MAX = 10_000

/** A read that is under way. */
interface Reader {
  readonly idHash: string
  changed: boolean
}

interface Entry {
  readonly data: string
  readonly session: Session
  readonly readAt: number
}

/**
 * Live sessions that were read a moment ago, so that a request of a live session asks nobody. Whoever hears that a session
 * changed or ended calls `forget`. While nothing changes, a session keeps the very same `grant` object.
 *
 * @param freshSeconds how long a row is believed when nobody calls `forget`; 0: every row is read again, and only parsed once
 * @param hearing whether such a call would come; while it would not, nothing is believed
 */
export function createSessionCache(freshSeconds: number, now: Clock, hearing: () => boolean = () => true) {
  const entries = new Map<string, Entry>()
  const readers = new Set<Reader>()

  function parse(row: SessionRow): Session {
    const held = entries.get(row.idHash)
    return held?.data === row.data ? { ...held.session, deadline: row.deadline } : sessionOf(row)
  }

  function keep(entry: Entry): void {
    const { idHash } = entry.session
    entries.delete(idHash)
    if (entries.size >= SESSIONS_MAX) entries.delete(entries.keys().next().value ?? '')
    entries.set(idHash, entry)
  }

  return {
    /** A session that lives and was read a moment ago. */
    get(idHash: string): Session | undefined {
      const entry = entries.get(idHash)
      if (entry === undefined || !hearing()) return undefined
      const time = now()
      return time < entry.readAt + freshSeconds && time < entry.session.deadline ? entry.session : undefined
    },

    /**
     * Reads a row, and again when the session changed meanwhile, or may have: the row may be from before, and whoever ended
     * the session has already cut the connections that he found.
     */
    async read(
      idHash: string,
      get: () => Promise<SessionRow | EndedSession | undefined>,
    ): Promise<Session | EndedSession | undefined> {
      for (;;) {
        const heard = hearing()
        const readAt = heard ? now() : Number.NEGATIVE_INFINITY
        const reader: Reader = { idHash, changed: false }
        readers.add(reader)
        const row = await get().finally(() => readers.delete(reader))
        if (reader.changed || (!heard && hearing())) continue
        if (row?.state !== 'live') return row
        const session = parse(row)
        keep({ data: row.data, session, readAt })
        return session
      }
    },

    forget(idHash: string): void {
      for (const reader of readers) reader.changed ||= reader.idHash === idHash
      entries.delete(idHash)
    },

    forgetAll(): void {
      for (const reader of readers) reader.changed = true
      entries.clear()
    },
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
