import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../core/time.ts'
import type { Client } from './redis-connection.ts'
import { keyOf, scoreOf, ttlOf } from './redis-keys.ts'
import type { Redo } from './redis-redo.ts'
import type { Reads, Replicated } from './redis-replication.ts'
import { type Decision, decideAgain, decidePut, decideRevoke, type ShareState } from './rules.ts'
import type { ShareKey, ShareStore } from './store.ts'

/** So often a decision is made anew because someone else was faster. Each time, someone succeeded. */
const ATTEMPTS = 200

type Write = Client['putShare' | 'revokeShare']

/** What a decision is made from: what is kept of the share, as it is written and as it counts, and how many of each its domain has. */
interface Known {
  readonly written: string
  readonly state: ShareState | undefined
  readonly live: number
  readonly revoked: number
}

interface Means {
  readonly now: Clock
  readonly reads: Reads
  readonly replicated: Replicated
  readonly redo: Redo
  readonly writtenAgain: (key: ShareKey) => void
}

const keyOfShare = ({ senderDomain, shareId }: ShareKey) => keyOf('share', senderDomain, shareId)
/** Ids by the time until which they are kept, so that counting them needs no counter. */
const keyOfAll = (state: 'live' | 'revoked', senderDomain: string) => keyOf(`shares ${state}`, senderDomain)

/**
 * A share is one text. What to make of it is decided here, by the rules of every store, and written only over the very text
 * that was decided upon.
 *
 * @param writtenAgain called with every share that was answered for lately, when there is another master
 */
export function createShares(client: Client, { now, reads, replicated, redo, writtenAgain }: Means): ShareStore {
  const { ask } = redo
  const count = (state: 'live' | 'revoked', senderDomain: string) =>
    client.zcount(keyOfAll(state, senderDomain), `(${now()}`, '+inf')

  async function read(key: ShareKey): Promise<Known> {
    const [written, live, revoked] = await Promise.all([
      reads.share(keyOfShare(key)),
      count('live', key.senderDomain),
      count('revoked', key.senderDomain),
    ])
    const state = written === null ? undefined : parse(written)
    const known = state !== undefined && state.keepUntil > now()
    return { written: written ?? '', state: known ? state : undefined, live, revoked }
  }

  /** @param limit how many shares of its new state the domain may have without this one */
  async function replace(
    write: Write,
    key: ShareKey,
    { written, next, limit }: { written: string; next: ShareState; limit: number | undefined },
  ) {
    const { state } = next.row
    const time = now()
    const { shareId, senderDomain } = key
    return await write.call(
      client,
      keyOfShare(key),
      keyOfAll(state, senderDomain),
      keyOfAll(state === 'live' ? 'revoked' : 'live', senderDomain),
      ...[written, JSON.stringify(next), ttlOf(next.keepUntil, time), shareId, scoreOf(next.keepUntil), time],
      limit === undefined || limit === Number.POSITIVE_INFINITY ? '' : limit,
    )
  }

  /** @returns the answer, and what there is of the share from now on */
  async function change<Answer>(
    key: ShareKey,
    decide: (known: Known) => Decision<Answer>,
    { write, roomFor }: { write: Write; roomFor: (known: Known) => number | undefined },
  ): Promise<{ answer: Answer; state: ShareState | undefined; changed: boolean }> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const known = await read(key)
      const { answer, next } = decide(known)
      if (next === undefined) return { answer, state: known.state, changed: false }
      const { written } = known
      if ((await replace(write, key, { written, next, limit: roomFor(known) })) === 1)
        return { answer, state: next, changed: true }
      await setImmediate()
    }
    throw new Error('too many changes of one share at the same time')
  }

  /** What was there already has been answered for, too; perhaps by a process that is gone. */
  async function apply<Answer>(...[key, decide, how]: Parameters<typeof change<Answer>>): Promise<Answer> {
    const { answer, state, changed } = await change(key, decide, how)
    const name = keyOfShare(key)
    if (state !== undefined && (changed || !redo.keeps(name)))
      redo.keep(name, sizeOf(state), () => applyAgain(key, state))
    if (changed) await replicated()
    return answer
  }

  /** Even when the memory of Redis is full, and beyond the limits of its domain: it was in before. */
  async function applyAgain({ senderDomain, shareId }: ShareKey, answered: ShareState): Promise<boolean> {
    if (answered.keepUntil <= now()) return false
    const how = { write: client.revokeShare, roomFor: () => undefined }
    const decide = ({ state }: Known) => decideAgain(state, answered)
    const { answer } = await change({ senderDomain, shareId }, decide, how)
    writtenAgain({ senderDomain, shareId })
    return answer
  }

  return {
    get: (key) => ask(async () => (await read(key)).state?.row),
    put: (row, applied, { limit }) =>
      ask(() =>
        apply(row, ({ state, live }) => decidePut(state, row, applied, { live, limit }), {
          write: client.putShare,
          roomFor: ({ state }) => (state?.row.state === 'live' ? undefined : limit),
        }),
      ),
    revoke: (key, applied, options) =>
      ask(() =>
        apply(key, ({ state, revoked: tombstones }) => decideRevoke(state, key, applied, { ...options, tombstones }), {
          write: client.revokeShare,
          roomFor: ({ state }) => (state === undefined ? options.limit : undefined),
        }),
      ),
    count: (senderDomain) => ask(() => count('live', senderDomain)),
    list: (senderDomain, limit) =>
      ask(async () => {
        const ids = await Promise.all(
          (['live', 'revoked'] as const).map((state) =>
            client.zrangebyscore(keyOfAll(state, senderDomain), `(${now()}`, '+inf', 'LIMIT', 0, limit),
          ),
        )
        const keys = ids.flat().slice(0, limit)
        if (keys.length === 0) return []
        const found = await client.mget(keys.map((shareId) => keyOfShare({ senderDomain, shareId })))
        return found.flatMap((written) => (written === null ? [] : [parse(written).row]))
      }),
    // Redis forgets by itself.
    sweep: () => ask(async () => void (await client.ping())),
  }
}

function sizeOf({ row }: ShareState): number {
  return row.state === 'live' ? row.data.length : 0
}

/** JSON has no infinity and no `undefined`. */
function parse(written: string): ShareState {
  const { row, history, keepUntil } = JSON.parse(written)
  return {
    row: row.state === 'live' ? { ...row, expiresAt: row.expiresAt } : row,
    history,
    keepUntil: keepUntil ?? Number.POSITIVE_INFINITY,
  }
}
