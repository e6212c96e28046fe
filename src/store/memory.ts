import type { Clock } from '../core/time.ts'
import { answering, createLocalBus, createLocalLock, type Tell } from './local.ts'
import { decidePut, decideRevoke, type ShareState } from './rules.ts'
import type {
  EndedSession,
  Note,
  NoteStore,
  SessionRow,
  SessionStore,
  ShareKey,
  ShareStore,
  Store,
  Workload,
  WorkloadStore,
} from './store.ts'

/** Runs an operation unless the store is closed. */
type Answer = <T>(operation: () => T) => Promise<T>

/** For demos, tests and trials: one process, nothing outlives it, and counting walks over all rows. */
export function createMemoryStore({ now }: { now: Clock }): Store {
  let closed = false
  const answer: Answer = (operation) =>
    answering(() => {
      if (closed) throw new Error('the store is closed')
      return operation()
    })
  const { bus, tell } = createLocalBus()
  return {
    shares: createShares(answer, now),
    sessions: createSessions(answer, now, tell),
    workloads: createWorkloads(answer, tell),
    notes: createNotes(answer, now),
    bus,
    lock: createLocalLock(),
    ping: () => answer(() => undefined),
    async close() {
      closed = true
    },
  }
}

const joined = (...parts: string[]) => JSON.stringify(parts)
const nameOf = ({ senderDomain, shareId }: ShareKey) => joined(senderDomain, shareId)

function createShares(answer: Answer, now: Clock): ShareStore {
  const states = new Map<string, ShareState>()
  const find = (key: ShareKey) => {
    const state = states.get(nameOf(key))
    return state !== undefined && state.keepUntil > now() ? state : undefined
  }
  const count = (domain: string, state: 'live' | 'revoked') =>
    [...states.values()].filter(({ row }) => row.senderDomain === domain && row.state === state).length

  return {
    get: (key) => answer(() => find(key)?.row),
    put: (row, applied, { limit }) =>
      answer(() => {
        const live = count(row.senderDomain, 'live')
        const decision = decidePut(find(row), row, applied, { live, limit })
        if (decision.next !== undefined) states.set(nameOf(row), decision.next)
        return decision.answer
      }),
    revoke: (key, applied, options) =>
      answer(() => {
        const tombstones = count(key.senderDomain, 'revoked')
        const decision = decideRevoke(find(key), key, applied, { ...options, tombstones })
        if (decision.next !== undefined) states.set(nameOf(key), decision.next)
        return decision.answer
      }),
    count: (senderDomain) => answer(() => count(senderDomain, 'live')),
    list: (senderDomain, limit) =>
      answer(() => {
        const known = [...states.values()].filter(({ keepUntil }) => keepUntil > now())
        const rows = known.map(({ row }) => row).filter((row) => row.senderDomain === senderDomain)
        return rows.slice(0, limit)
      }),
    sweep: (time) => answer(() => forget(states, time)),
  }
}

function createSessions(answer: Answer, now: Clock, tell: Tell): SessionStore {
  const live = new Map<string, SessionRow>()
  const remainders = new Map<string, { readonly ended: EndedSession; readonly keepUntil: number }>()
  const where = (matches: (row: SessionRow) => boolean) => [...live.values()].filter(matches)
  const remainder = (idHash: string) => {
    const { ended, keepUntil } = remainders.get(idHash) ?? {}
    return keepUntil !== undefined && keepUntil > now() ? ended : undefined
  }

  return {
    get: (idHash) => answer(() => live.get(idHash) ?? remainder(idHash)),
    open: (row, { limit }) =>
      answer(() => {
        if (where(({ senderDomain }) => senderDomain === row.senderDomain).length >= limit) return 'full'
        live.set(row.idHash, row)
        return 'opened'
      }),
    update: (row, from, { cut } = { cut: false }) =>
      answer(() => {
        if (live.get(row.idHash)?.data !== from) return false
        live.set(row.idHash, row)
        tell({ type: 'session.changed', idHash: row.idHash, cut })
        return true
      }),
    touch: (idHash, deadline) =>
      answer(() => {
        const row = live.get(idHash)
        if (row !== undefined) live.set(idHash, { ...row, deadline })
      }),
    end: (ended, { keepUntil }) =>
      answer(() => {
        const row = live.get(ended.idHash)
        if (row === undefined) return undefined
        live.delete(ended.idHash)
        remainders.set(ended.idHash, { ended, keepUntil })
        tell({ type: 'session.ended', idHash: ended.idHash, reason: ended.reason })
        return row
      }),
    ofShare: (key) => answer(() => where((row) => nameOf(row) === nameOf(key))),
    due: (time, limit) =>
      answer(() =>
        where(({ deadline }) => deadline <= time)
          .toSorted((a, b) => a.deadline - b.deadline)
          .slice(0, limit),
      ),
    ids: () => answer(() => where(() => true).map(({ idHash }) => idHash)),
    count: (webapp) => answer(() => where((row) => row.webapp === webapp).length),
    sweep: (time) => answer(() => forget(remainders, time)),
  }
}

function createWorkloads(answer: Answer, tell: Tell): WorkloadStore {
  const workloads = new Map<string, Workload>()
  const changed = (webapp: string, name: string) => tell({ type: 'workload.changed', webapp, name })
  return {
    put: (workload) =>
      answer(() => {
        const { webapp, name } = workload
        workloads.set(joined(webapp, name), workload)
        changed(webapp, name)
      }),
    get: (webapp, name) => answer(() => workloads.get(joined(webapp, name))),
    delete: (webapp, name) =>
      answer(() => {
        workloads.delete(joined(webapp, name))
        changed(webapp, name)
      }),
    list: (webapp) => answer(() => [...workloads.values()].filter((workload) => workload.webapp === webapp)),
  }
}

function createNotes(answer: Answer, now: Clock): NoteStore {
  const notes = new Map<string, Note>()
  const isLive = ({ expiresAt = Infinity }: Note) => expiresAt > now()
  const find = (space: string, id: string) => {
    const note = notes.get(joined(space, id))
    return note !== undefined && isLive(note) ? note : undefined
  }
  const put = (note: Note) => void notes.set(joined(note.space, note.id), note)
  return {
    get: (space, id) => answer(() => find(space, id)),
    put: (note) => answer(() => put(note)),
    replace: (note, from) =>
      answer(() => {
        const unchanged = find(note.space, note.id)?.data === from
        if (unchanged) put(note)
        return unchanged
      }),
    delete: (space, id) => answer(() => void notes.delete(joined(space, id))),
    list: (space, prefix, limit) =>
      answer(() => {
        const here = [...notes.values()].filter((note) => note.space === space && note.id.startsWith(prefix))
        return here
          .filter(isLive)
          .toSorted((a, b) => (a.id < b.id ? -1 : 1))
          .slice(0, limit)
      }),
    sweep: (time) =>
      answer(() => {
        for (const [name, { expiresAt = Infinity }] of notes) if (expiresAt <= time) notes.delete(name)
      }),
  }
}

function forget(entries: Map<string, { readonly keepUntil: number }>, now: number) {
  for (const [name, { keepUntil }] of entries) if (keepUntil <= now) entries.delete(name)
}
