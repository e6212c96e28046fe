import type { Clock } from '../core/time.ts'
import { answering, createLocalBus, createLocalLock, type Tell } from './local.ts'
import { decidePut, decideRevoke, type ShareState } from './rules.ts'
import { type Database, openAmongWorkers, openBeside, openDatabase, openForReading } from './sqlite-database.ts'
import type {
  EndedSession,
  Note,
  NoteStore,
  SessionRow,
  SessionStore,
  ShareKey,
  ShareRow,
  ShareStore,
  Store,
  Tombstone,
  Workload,
  WorkloadStore,
} from './store.ts'
import type { WorkerBus } from './worker-bus.ts'

/** How often we look whether an operator’s command has written. */
const LOOK_MS = 200

const OPEN = { alone: openDatabase, reading: openForReading, writing: openBeside }

/** How a second process opens a file that a gateway uses. */
export type Beside = 'reading' | 'writing'

interface Options {
  readonly now: Clock
  /** Beside the gateway that uses the file, which hears of a write within a moment. `reading`: every write rejects. */
  readonly beside?: Beside | undefined
  /** As one of several workers on the file. */
  readonly among?: WorkerBus | undefined
}

/**
 * A store in one SQLite file, for one process or the workers of one; any other is refused. Every write is on disk when its
 * promise resolves, but for `sessions.touch`.
 *
 * @throws {GatewayError} `store_unavailable` when the file cannot be opened, with why in the message
 */
export function openSqliteStore(file: string, { now, beside, among }: Options): Store {
  const database = among === undefined ? OPEN[beside ?? 'alone'](file) : openAmongWorkers(file)
  const ping = database.prepare<object>('SELECT 1 FROM sqlite_schema LIMIT 1')
  const { bus, tell, deliver, lock, write: inTurn } = among ?? alone()
  const write: Write = (work) => answering(() => inTurn(work))
  const watch = watchOthers(database, deliver)
  return {
    shares: createShares(database, now, write),
    sessions: createSessions(database, now, { write, tell }),
    workloads: createWorkloads(database, { write, tell }),
    notes: createNotes(database, now, write),
    bus,
    lock,
    ping: () => answering(() => void ping.get({})),
    close: () =>
      answering(() => {
        clearInterval(watch)
        database.close()
      }),
  }
}

/** `answering`, when nobody else writes. */
type Write = WorkerBus['write']

function alone(): WorkerBus {
  const { bus, tell } = createLocalBus()
  return {
    bus,
    deliver: tell,
    tell: async (message) => tell(message),
    write: async (work) => work(),
    lock: createLocalLock(),
  }
}

/** What another process wrote may have ended sessions: nothing is taken for known from then on. */
function watchOthers(database: Database, tell: Tell): NodeJS.Timeout {
  let seen = 0
  const look = () => {
    try {
      const version = database.version()
      if (version !== seen) tell({ type: 'missed' })
      seen = version
    } catch {
      // `ping` and every operation say so too.
    }
  }
  return setInterval(look, LOOK_MS).unref()
}

function prepareCount(database: Database) {
  const select = database.prepare<{ what: string; name: string }, { n: number }>(
    'SELECT n FROM counts WHERE what = :what AND name = :name',
  )
  return (what: 'shares.live' | 'shares.revoked' | 'sessions.domain' | 'sessions.webapp', name: string) =>
    select.get({ what, name })?.n ?? 0
}

/** The columns of `shares`: of a live row, or of a tombstone, and of the bookkeeping. */
interface ShareColumns extends ShareKey {
  readonly state: 'live' | 'revoked'
  readonly instance: string | null
  readonly created: number | null
  readonly expiresAt: number | null
  readonly data: string | null
  readonly revokedAt: number | null
  readonly appliedCreated: number
  /** A JSON array. */
  readonly appliedSignatures: string
  readonly keepUntil: number
}

function createShares(database: Database, now: Clock, write: Write): ShareStore {
  const select = database.prepare<ShareKey & { now: number }, ShareColumns>(
    'SELECT * FROM shares WHERE senderDomain = :senderDomain AND shareId = :shareId AND keepUntil > :now',
  )
  const upsert = database.prepare<ShareColumns>(
    `INSERT INTO shares VALUES (:senderDomain, :shareId, :state, :instance, :created, :expiresAt, :data, :revokedAt,
       :appliedCreated, :appliedSignatures, :keepUntil)
     ON CONFLICT DO UPDATE SET state = :state, instance = :instance, created = :created, expiresAt = :expiresAt,
       data = :data, revokedAt = :revokedAt, appliedCreated = :appliedCreated, appliedSignatures = :appliedSignatures,
       keepUntil = :keepUntil`,
  )
  const list = database.prepare<{ senderDomain: string; now: number; limit: number }, ShareColumns>(
    'SELECT * FROM shares WHERE senderDomain = :senderDomain AND keepUntil > :now LIMIT :limit',
  )
  const forget = database.prepare<{ now: number }>('DELETE FROM shares WHERE keepUntil <= :now')
  const count = prepareCount(database)
  const find = ({ senderDomain, shareId }: ShareKey) => select.get({ senderDomain, shareId, now: now() })
  const findState = (key: ShareKey) => {
    const columns = find(key)
    return columns && stateOf(columns)
  }

  return {
    get: (key) =>
      answering(() => {
        const columns = find(key)
        return columns && rowOf(columns)
      }),
    put: (row, applied, { limit }) =>
      write(() =>
        database.transaction(() => {
          const live = count('shares.live', row.senderDomain)
          const decision = decidePut(findState(row), row, applied, { live, limit })
          if (decision.next !== undefined) upsert.run(columnsOf(decision.next))
          return decision.answer
        }),
      ),
    revoke: (key, applied, options) =>
      write(() =>
        database.transaction(() => {
          const tombstones = count('shares.revoked', key.senderDomain)
          const decision = decideRevoke(findState(key), key, applied, { ...options, tombstones })
          if (decision.next !== undefined) upsert.run(columnsOf(decision.next))
          return decision.answer
        }),
      ),
    count: (senderDomain) => answering(() => count('shares.live', senderDomain)),
    list: (senderDomain, limit) => answering(() => list.all({ senderDomain, now: now(), limit }).map(rowOf)),
    sweep: (time) => write(() => void forget.run({ now: time })),
  }
}

function rowOf(columns: ShareColumns): ShareRow | Tombstone {
  const { senderDomain, shareId, state, instance, created, expiresAt, data, revokedAt } = columns
  if (state === 'revoked') return { senderDomain, shareId, state, revokedAt: revokedAt ?? 0 }
  return {
    senderDomain,
    shareId,
    state,
    instance: instance ?? '',
    created: created ?? 0,
    expiresAt: expiresAt ?? undefined,
    data: data ?? '',
  }
}

function stateOf(columns: ShareColumns): ShareState {
  const { appliedCreated, appliedSignatures, keepUntil } = columns
  return {
    row: rowOf(columns),
    history: { created: appliedCreated, signatures: JSON.parse(appliedSignatures) },
    keepUntil,
  }
}

const NO_COLUMNS = { instance: null, created: null, expiresAt: null, data: null, revokedAt: null }

function columnsOf({ row, history, keepUntil }: ShareState): ShareColumns {
  return {
    ...NO_COLUMNS,
    ...row,
    expiresAt: row.state === 'live' ? (row.expiresAt ?? null) : null,
    appliedCreated: history.created,
    appliedSignatures: JSON.stringify(history.signatures),
    keepUntil,
  }
}

const SESSION = `'live' AS state, idHash, webapp, senderDomain, shareId, deadline, data`

function createSessions(
  database: Database,
  now: Clock,
  { write, tell }: Pick<WorkerBus, 'write' | 'tell'>,
): SessionStore {
  const select = database.prepare<{ idHash: string }, SessionRow>(
    `SELECT ${SESSION} FROM sessions WHERE idHash = :idHash`,
  )
  const selectEnded = database.prepare<{ idHash: string; now: number }, EndedSession>(
    `SELECT 'ended' AS state, idHash, webapp, reason, endedAt, data FROM endedSessions
     WHERE idHash = :idHash AND keepUntil > :now`,
  )
  const insert = database.prepare<SessionRow>(
    'INSERT INTO sessions VALUES (:idHash, :webapp, :senderDomain, :shareId, :deadline, :data)',
  )
  const update = database.prepare<SessionRow & { from: string }>(
    `UPDATE sessions SET webapp = :webapp, senderDomain = :senderDomain, shareId = :shareId, deadline = :deadline,
       data = :data WHERE idHash = :idHash AND data = :from`,
  )
  const touch = database.prepare<{ idHash: string; deadline: number }>(
    'UPDATE sessions SET deadline = :deadline WHERE idHash = :idHash',
  )
  const remove = database.prepare<{ idHash: string }, SessionRow>(
    `DELETE FROM sessions WHERE idHash = :idHash RETURNING ${SESSION}`,
  )
  const insertEnded = database.prepare<EndedSession & { keepUntil: number }>(
    'INSERT OR REPLACE INTO endedSessions VALUES (:idHash, :webapp, :reason, :endedAt, :data, :keepUntil)',
  )
  const ofShare = database.prepare<ShareKey, SessionRow>(
    `SELECT ${SESSION} FROM sessions WHERE senderDomain = :senderDomain AND shareId = :shareId`,
  )
  const due = database.prepare<{ now: number; limit: number }, SessionRow>(
    `SELECT ${SESSION} FROM sessions WHERE deadline <= :now ORDER BY deadline LIMIT :limit`,
  )
  const ids = database.prepare<Record<string, never>, { idHash: string }>('SELECT idHash FROM sessions')
  const forget = database.prepare<{ now: number }>('DELETE FROM endedSessions WHERE keepUntil <= :now')
  const count = prepareCount(database)

  return {
    // Live first: a session that ends between the two reads is found by the second.
    get: (idHash) => answering(() => select.get({ idHash }) ?? selectEnded.get({ idHash, now: now() })),
    open: (row, { limit }) =>
      write(() =>
        database.transaction(() => {
          if (count('sessions.domain', row.senderDomain) >= limit) return 'full'
          insert.run(row)
          return 'opened'
        }),
      ),
    async update(row, from, { cut } = { cut: false }) {
      const { unchanged, told } = await write(() => {
        const unchanged = update.run({ ...row, from }) === 1
        const told = unchanged ? tell({ type: 'session.changed', idHash: row.idHash, cut }) : undefined
        return { unchanged, told }
      })
      await answering(() => told)
      return unchanged
    },
    touch: (idHash, deadline) => write(() => void database.hurried(() => touch.run({ idHash, deadline }))),
    async end(ended, { keepUntil }) {
      const { row, told } = await write(() => {
        const row = database.transaction(() => {
          const removed = remove.get(ended)
          if (removed !== undefined) insertEnded.run({ ...ended, keepUntil })
          return removed
        })
        const { idHash, reason } = ended
        return { row, told: row === undefined ? undefined : tell({ type: 'session.ended', idHash, reason }) }
      })
      await answering(() => told)
      return row
    },
    ofShare: (key) => answering(() => ofShare.all(key)),
    due: (time, limit) => answering(() => due.all({ now: time, limit })),
    ids: () => answering(() => ids.all({}).map(({ idHash }) => idHash)),
    count: (webapp) => answering(() => count('sessions.webapp', webapp)),
    sweep: (time) => write(() => void forget.run({ now: time })),
  }
}

function createWorkloads(database: Database, { write, tell }: Pick<WorkerBus, 'write' | 'tell'>): WorkloadStore {
  const upsert = database.prepare<Workload>(
    `INSERT INTO workloads VALUES (:webapp, :name, :senderDomain, :shareId, :data)
     ON CONFLICT DO UPDATE SET senderDomain = :senderDomain, shareId = :shareId, data = :data`,
  )
  const select = database.prepare<{ webapp: string; name: string }, Workload>(
    'SELECT * FROM workloads WHERE webapp = :webapp AND name = :name',
  )
  const remove = database.prepare<{ webapp: string; name: string }>(
    'DELETE FROM workloads WHERE webapp = :webapp AND name = :name',
  )
  const list = database.prepare<{ webapp: string }, Workload>('SELECT * FROM workloads WHERE webapp = :webapp')
  async function change(webapp: string, name: string, work: () => unknown): Promise<void> {
    // As an object: a promise would be waited for within the turn.
    const { told } = await write(() => {
      work()
      return { told: tell({ type: 'workload.changed', webapp, name }) }
    })
    await answering(() => told)
  }
  return {
    put: (workload) => change(workload.webapp, workload.name, () => upsert.run(workload)),
    get: (webapp, name) => answering(() => select.get({ webapp, name })),
    delete: (webapp, name) => change(webapp, name, () => remove.run({ webapp, name })),
    list: (webapp) => answering(() => list.all({ webapp })),
  }
}

interface NoteColumns extends Omit<Note, 'expiresAt'> {
  readonly expiresAt: number | null
}

/** Above every character of an id. */
const LAST = '\u{10ffff}'

function createNotes(database: Database, now: Clock, write: Write): NoteStore {
  const live = '(expiresAt IS NULL OR expiresAt > :now)'
  const select = database.prepare<{ space: string; id: string; now: number }, NoteColumns>(
    `SELECT * FROM notes WHERE space = :space AND id = :id AND ${live}`,
  )
  const upsert = database.prepare<NoteColumns>(
    `INSERT INTO notes VALUES (:space, :id, :data, :expiresAt)
     ON CONFLICT DO UPDATE SET data = :data, expiresAt = :expiresAt`,
  )
  const remove = database.prepare<{ space: string; id: string }>('DELETE FROM notes WHERE space = :space AND id = :id')
  const list = database.prepare<
    { space: string; prefix: string; end: string; now: number; limit: number },
    NoteColumns
  >(`SELECT * FROM notes WHERE space = :space AND id >= :prefix AND id < :end AND ${live} ORDER BY id LIMIT :limit`)
  const forget = database.prepare<{ now: number }>('DELETE FROM notes WHERE expiresAt <= :now')
  const put = (note: Note) => void upsert.run({ ...note, expiresAt: note.expiresAt ?? null })
  return {
    get: (space, id) =>
      answering(() => {
        const columns = select.get({ space, id, now: now() })
        return columns && noteOf(columns)
      }),
    put: (note) => write(() => put(note)),
    replace: (note, from) =>
      write(() =>
        database.transaction(() => {
          const unchanged = select.get({ ...note, now: now() })?.data === from
          if (unchanged) put(note)
          return unchanged
        }),
      ),
    delete: (space, id) => write(() => void remove.run({ space, id })),
    list: (space, prefix, limit) =>
      answering(() => list.all({ space, prefix, end: prefix + LAST, now: now(), limit }).map(noteOf)),
    sweep: (time) => write(() => void forget.run({ now: time })),
  }
}

function noteOf(columns: NoteColumns): Note {
  return { ...columns, expiresAt: columns.expiresAt ?? undefined }
}
