import type { Clock } from '../core/time.ts'
import type { RedisBus } from './redis-bus.ts'
import type { Client } from './redis-connection.ts'
import { keyOf, ttlOf } from './redis-keys.ts'
import type { Redo } from './redis-redo.ts'
import type { Reads, Replicated } from './redis-replication.ts'
import { DUE, FORGOTTEN_SECONDS } from './redis-scripts.ts'
import type { EndedSession, SessionRow, SessionStore, ShareKey } from './store.ts'

const BATCH = 500

interface Means {
  readonly now: Clock
  readonly bus: RedisBus
  readonly reads: Reads
  readonly replicated: Replicated
  readonly redo: Redo
}

const keyOfSession = (idHash: string) => keyOf('session', idHash)
const byDomain = (senderDomain: string) => keyOf('sessions of', senderDomain)
const byWebapp = (webapp: string) => keyOf('sessions at', webapp)
const byShare = ({ senderDomain, shareId }: ShareKey) => keyOf('sessions for', senderDomain, shareId)

/**
 * A session is a hash, under the same name while it lives and after it ended, and knows the indexes it is in. Indexes are
 * ordered by deadline, so that what nobody ended falls out of them.
 */
export function createSessions(client: Client, { now, bus, reads, replicated, redo }: Means): SessionStore {
  const { ask } = redo
  const remaining = (deadline: number) => ttlOf(deadline + FORGOTTEN_SECONDS, now())

  async function find(idHash: string): Promise<SessionRow | EndedSession | undefined> {
    return read(idHash, await reads.session(keyOfSession(idHash)), now())
  }

  async function liveOf(ids: readonly string[]): Promise<SessionRow[]> {
    const rows: SessionRow[] = []
    for (let start = 0; start < ids.length; start += BATCH) {
      const found = await Promise.all(ids.slice(start, start + BATCH).map(find))
      rows.push(...found.filter((row) => row?.state === 'live'))
    }
    return rows
  }

  async function endOnce(ended: EndedSession, keepUntil: number): Promise<SessionRow | undefined> {
    const { idHash, reason } = ended
    let row: SessionRow | undefined
    await bus.tell({ type: 'session.ended', idHash, reason }, async (sender, message) => {
      const answer = await client.endSession(
        keyOfSession(idHash),
        ...[idHash, ttlOf(keepUntil, now()), sender, message],
        ...fieldsOfEnded(ended, keepUntil),
      )
      if (answer === null) return undefined
      const [fields, replicas] = answer as [string[], string[]]
      const [webapp = '', senderDomain = '', shareId = '', deadline, data = ''] = fields
      row = { state: 'live', idHash, webapp, senderDomain, shareId, deadline: Number(deadline), data }
      return replicas
    })
    return row
  }

  /** What is told again is heard again: by who opened its connections meanwhile, too. */
  function keepEnd(ended: EndedSession, keepUntil: number): void {
    const again = async () => (await endOnce(ended, keepUntil)) !== undefined
    redo.keep(keyOfSession(ended.idHash), ended.data.length, again)
  }

  return {
    get: (idHash) => ask(() => find(idHash)),
    open: (row, { limit }) =>
      ask(async () => {
        const opened = await client.openSession(
          keyOfSession(row.idHash),
          byDomain(row.senderDomain),
          ...[row.idHash, row.deadline, now(), remaining(row.deadline), limit],
          ...fieldsOf(row),
        )
        return opened === 1 ? 'opened' : 'full'
      }),
    update: (row, from, { cut } = { cut: false }) =>
      ask(() =>
        bus.tell({ type: 'session.changed', idHash: row.idHash, cut }, async (sender, message) => {
          const replicas = await client.updateSession(
            keyOfSession(row.idHash),
            ...[row.idHash, row.deadline, now(), remaining(row.deadline), from, sender, message],
            ...fieldsOf(row),
          )
          return (replicas as string[] | null) ?? undefined
        }),
      ),
    touch: (idHash, deadline) =>
      ask(async () => {
        await client.touchSession(keyOfSession(idHash), idHash, deadline, now(), remaining(deadline))
      }),
    end: (ended, { keepUntil }) =>
      ask(async () => {
        const row = await endOnce(ended, keepUntil)
        if (row === undefined) return undefined
        keepEnd(ended, keepUntil)
        await replicated()
        return row
      }),
    ofShare: (key) =>
      ask(async () => {
        const rows = await liveOf(await client.zrange(byShare(key), '0', '-1'))
        return rows.filter(({ senderDomain, shareId }) => senderDomain === key.senderDomain && shareId === key.shareId)
      }),
    due: (time, limit) =>
      ask(async () => {
        await client.zremrangebyscore(DUE, '-inf', String(now() - FORGOTTEN_SECONDS))
        return liveOf(await client.zrangebyscore(DUE, '-inf', time, 'LIMIT', 0, limit))
      }),
    ids: () => ask(() => client.zrangebyscore(DUE, String(now() - FORGOTTEN_SECONDS), '+inf')),
    count: (webapp) => ask(() => client.zcount(byWebapp(webapp), String(now() - FORGOTTEN_SECONDS), '+inf')),
    // Redis forgets by itself.
    sweep: () => ask(async () => void (await client.ping())),
  }
}

function fieldsOf(row: SessionRow): (string | number)[] {
  const indexes = { byDomain: byDomain(row.senderDomain), byWebapp: byWebapp(row.webapp), byShare: byShare(row) }
  return Object.entries({ ...row, ...indexes }).flat()
}

function fieldsOfEnded(ended: EndedSession, keepUntil: number): (string | number)[] {
  return Object.entries({ ...ended, keepUntil }).flat()
}

function read(idHash: string, fields: Readonly<Record<string, string>>, now: number) {
  const { state, webapp = '', data = '' } = fields
  if (state === 'live') {
    const { senderDomain = '', shareId = '', deadline } = fields
    return { state, idHash, webapp, senderDomain, shareId, deadline: Number(deadline), data } as const
  }
  if (state !== 'ended' || Number(fields.keepUntil) <= now) return undefined
  return { state, idHash, webapp, reason: fields.reason ?? '', endedAt: Number(fields.endedAt), data } as const
}
