import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../core/time.ts'
import type { Ask, Client } from './redis-connection.ts'
import { keyOf, scoreOf, ttlOf } from './redis-keys.ts'
import type { Reads, Replicated } from './redis-replication.ts'
import { type Decision, decidePut, decideRevoke, type ShareState } from './rules.ts'
import type { ShareKey, ShareStore } from './store.ts'

/** So often a decision is made anew because someone else was faster. Each time, someone succeeded. */
const ATTEMPTS = 200

/** What a decision is made from: what is kept of the share, as it is written and as it counts, and how many of each its domain has. */
interface Known {
  readonly written: string
  readonly state: ShareState | undefined
  readonly live: number
  readonly revoked: number
}

const keyOfShare = ({ senderDomain, shareId }: ShareKey) => keyOf('share', senderDomain, shareId)
/** Ids by the time until which they are kept, so that counting them needs no counter. */
const keyOfAll = (state: 'live' | 'revoked', senderDomain: string) => keyOf(`shares ${state}`, senderDomain)

/**
 * A share is one text. What to make of it is decided here, by the rules of every store, and written only over the very text
 * that was decided upon.
 */
export function createShares(
  client: Client,
  ask: Ask,
  { now, reads, replicated }: { now: Clock; reads: Reads; replicated: Replicated },
): ShareStore {
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
  async function replace(key: ShareKey, written: string, next: ShareState, limit: number | undefined) {
    const { state } = next.row
    const time = now()
    const { shareId, senderDomain } = key
    const write = state === 'live' ? client.putShare : client.revokeShare
    return await write.call(
      client,
      keyOfShare(key),
      keyOfAll(state, senderDomain),
      keyOfAll(state === 'live' ? 'revoked' : 'live', senderDomain),
      ...[written, JSON.stringify(next), ttlOf(next.keepUntil, time), shareId, scoreOf(next.keepUntil), time],
      limit === undefined || limit === Number.POSITIVE_INFINITY ? '' : limit,
    )
  }

  async function apply<Answer>(
    key: ShareKey,
    decide: (known: Known) => Decision<Answer>,
    roomFor: (known: Known) => number | undefined,
  ): Promise<Answer> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const known = await read(key)
      const { answer, next } = decide(known)
      if (next === undefined) return answer
      if ((await replace(key, known.written, next, roomFor(known))) === 1) {
        await replicated()
        return answer
      }
      await setImmediate()
    }
    throw new Error('too many changes of one share at the same time')
  }

  return {
    get: (key) => ask(async () => (await read(key)).state?.row),
    put: (row, applied, { limit }) =>
      ask(() =>
        apply(
          row,
          ({ state, live }) => decidePut(state, row, applied, { live, limit }),
          ({ state }) => (state?.row.state === 'live' ? undefined : limit),
        ),
      ),
    revoke: (key, applied, options) =>
      ask(() =>
        apply(
          key,
          ({ state, revoked: tombstones }) => decideRevoke(state, key, applied, { ...options, tombstones }),
          ({ state }) => (state === undefined ? options.limit : undefined),
        ),
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

/** JSON has no infinity and no `undefined`. */
function parse(written: string): ShareState {
  const { row, history, keepUntil } = JSON.parse(written)
  return {
    row: row.state === 'live' ? { ...row, expiresAt: row.expiresAt } : row,
    history,
    keepUntil: keepUntil ?? Number.POSITIVE_INFINITY,
  }
}
