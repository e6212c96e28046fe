import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import type {
  Applied,
  BusMessage,
  EndedSession,
  Note,
  SessionRow,
  ShareKey,
  ShareRow,
  Store,
  Workload,
} from '../../src/store/store.ts'

/** A fresh store, and the clock that it really uses. */
export interface OpenedStore {
  readonly store: Store
  /** Epoch seconds. */
  now(): number
  advance(seconds: number): Promise<void>
}

export const START = 1_800_000_000
const DAY = 86_400
const DOMAIN = 'cloud.example.org'
const KEY: ShareKey = { senderDomain: DOMAIN, shareId: '42' }

export function shareRow(change: Partial<ShareRow> = {}): ShareRow {
  const always = {
    state: 'live',
    instance: 'instance-1',
    created: START,
    expiresAt: undefined,
    data: '{"name":"a"}',
  } as const
  return { ...KEY, ...always, ...change }
}

export function applied(created: number, signature = `signature-${created}`): Applied {
  return { created, signature }
}

function sessionRow(change: Partial<SessionRow> = {}): SessionRow {
  const always = {
    state: 'live',
    idHash: 'hash-1',
    webapp: 'notebooks',
    deadline: START + 3600,
    data: '{"user":"bob"}',
  } as const
  return { ...KEY, ...always, ...change }
}

function endedSession(change: Partial<EndedSession> = {}): EndedSession {
  return {
    state: 'ended',
    idHash: 'hash-1',
    webapp: 'notebooks',
    reason: 'logout',
    endedAt: START,
    data: '{}',
    ...change,
  }
}

function workload(change: Partial<Workload> = {}): Workload {
  return { ...KEY, webapp: 'notebooks', name: 'server-1', data: '{"pid":1}', ...change }
}

function note(change: Partial<Note> = {}): Note {
  return { space: 'locks', id: 'a-1', data: '{"by":"bob"}', expiresAt: undefined, ...change }
}

const ROOM = { limit: 100 }
const REVOCATION = { now: START, keepUntil: START + DAY, limit: 100 }
const REMAINDER = { keepUntil: START + DAY }
const twenty = Array.from({ length: 20 }, (_, index) => index)

/** What every store must do: the sentences of `src/store/store.ts`. */
export function storeContract(name: string, open: () => Promise<OpenedStore>) {
  async function opened(): Promise<OpenedStore> {
    const fresh = await open()
    onTestFinished(() => fresh.store.close())
    return fresh
  }

  describe(`${name}: shares`, () => {
    it('does not know what was never stored', async () => {
      const { store } = await opened()
      expect(await store.shares.get(KEY)).toBeUndefined()
      expect(await store.shares.count(DOMAIN)).toBe(0)
    })

    it.each([
      { expiry: 'no expiry', expiresAt: undefined },
      { expiry: 'an expiry', expiresAt: START + 60.5 },
      { expiry: 'an expiry at the epoch', expiresAt: 0 },
    ])('returns a row with $expiry as it was stored', async ({ expiresAt }) => {
      const { store } = await opened()
      const row = shareRow({ expiresAt, data: '{"name":"Übung \u0000 📓"}' })
      expect(await store.shares.put(row, applied(START), ROOM)).toBe('stored')
      expect(await store.shares.get(KEY)).toStrictEqual(row)
    })

    it.each([
      { other: 'another sender', key: { senderDomain: 'other.example', shareId: '42' } },
      { other: 'another id', key: { senderDomain: DOMAIN, shareId: '042' } },
      { other: 'another letter case', key: { senderDomain: DOMAIN.toUpperCase(), shareId: '42' } },
      { other: 'a key that joins to the same text', key: { senderDomain: `${DOMAIN}4`, shareId: '2' } },
    ])('keeps a share of $other apart', async ({ key }) => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START), ROOM)
      expect(await store.shares.get(key)).toBeUndefined()
      expect(await store.shares.revoke(key, applied(START + 1), REVOCATION)).toBe('gone')
      expect(await store.shares.get(KEY)).toMatchObject({ state: 'live' })
    })

    it('replaces a row by a newer request and keeps its instance', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START), ROOM)
      const newer = shareRow({ instance: 'instance-2', expiresAt: START + 60, data: '{"name":"b"}' })
      expect(await store.shares.put(newer, applied(START + 1), ROOM)).toBe('replaced')
      expect(await store.shares.get(KEY)).toStrictEqual({ ...newer, instance: 'instance-1' })
    })

    it('replaces a row by another request of the same second', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START, 'first'), ROOM)
      expect(await store.shares.put(shareRow({ data: '{}' }), applied(START, 'second'), ROOM)).toBe('replaced')
      expect(await store.shares.get(KEY)).toMatchObject({ data: '{}' })
    })

    it('leaves a row alone when its request, or an earlier one of the same second, is repeated', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START, 'first'), ROOM)
      await store.shares.put(shareRow({ data: '{}' }), applied(START, 'second'), ROOM)
      expect(await store.shares.put(shareRow(), applied(START, 'second'), ROOM)).toBe('unchanged')
      expect(await store.shares.put(shareRow(), applied(START, 'first'), ROOM)).toBe('unchanged')
      expect(await store.shares.get(KEY)).toMatchObject({ data: '{}' })
    })

    it('refuses a request that is older than the one applied last', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START), ROOM)
      expect(await store.shares.put(shareRow({ data: '{}' }), applied(START - 1), ROOM)).toBe('superseded')
      expect(await store.shares.revoke(KEY, applied(START - 1), REVOCATION)).toBe('superseded')
      expect(await store.shares.get(KEY)).toStrictEqual(shareRow())
    })

    it('turns a row into a tombstone that keeps nothing of it', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START), ROOM)
      expect(await store.shares.revoke(KEY, applied(START + 1), { ...REVOCATION, now: START + 2 })).toBe('revoked')
      expect(await store.shares.get(KEY)).toStrictEqual({ ...KEY, state: 'revoked', revokedAt: START + 2 })
    })

    it('refuses a provisioning that is replayed after the revocation of the same second', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START, 'put'), ROOM)
      await store.shares.revoke(KEY, applied(START, 'revoke'), REVOCATION)
      expect(await store.shares.put(shareRow(), applied(START, 'put'), ROOM)).toBe('superseded')
      expect(await store.shares.get(KEY)).toMatchObject({ state: 'revoked' })
    })

    it('refuses a provisioning that is older than the revocation, arrived before it or not', async () => {
      const { store } = await opened()
      expect(await store.shares.revoke(KEY, applied(START + 1), REVOCATION)).toBe('gone')
      expect(await store.shares.put(shareRow(), applied(START), ROOM)).toBe('superseded')
      expect(await store.shares.get(KEY)).toMatchObject({ state: 'revoked' })
    })

    it('makes a revoked share anew, with its new instance, by a newer provisioning', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START), ROOM)
      await store.shares.revoke(KEY, applied(START + 1), REVOCATION)
      const anew = shareRow({ instance: 'instance-2' })
      expect(await store.shares.put(anew, applied(START + 2), ROOM)).toBe('stored')
      expect(await store.shares.get(KEY)).toStrictEqual(anew)
    })

    it('makes a revoked share anew by another provisioning of the same second, which no replayed revocation undoes', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START, 'put'), ROOM)
      await store.shares.revoke(KEY, applied(START, 'revoke'), REVOCATION)
      expect(await store.shares.put(shareRow(), applied(START, 'put again'), ROOM)).toBe('stored')
      expect(await store.shares.revoke(KEY, applied(START, 'revoke'), REVOCATION)).toBe('superseded')
      expect(await store.shares.get(KEY)).toMatchObject({ state: 'live' })
    })

    it('answers gone to a repeated revocation', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START), ROOM)
      await store.shares.revoke(KEY, applied(START + 1), REVOCATION)
      expect(await store.shares.revoke(KEY, applied(START + 1), { ...REVOCATION, now: START + 9 })).toBe('gone')
      expect(await store.shares.get(KEY)).toMatchObject({ revokedAt: START })
    })

    it('answers gone to a newer revocation of a tombstone, and lets nothing older than it come back', async () => {
      const { store } = await opened()
      await store.shares.revoke(KEY, applied(START), REVOCATION)
      expect(await store.shares.revoke(KEY, applied(START + 5), { ...REVOCATION, now: START + 5 })).toBe('gone')
      expect(await store.shares.get(KEY)).toMatchObject({ revokedAt: START })
      expect(await store.shares.put(shareRow(), applied(START + 4), ROOM)).toBe('superseded')
      expect(await store.shares.revoke(KEY, applied(START + 4), REVOCATION)).toBe('superseded')
    })

    it('remembers 32 requests of one second, refuses more of them, and starts over with a newer second', async () => {
      const { store } = await opened()
      const put = (created: number, signature: string) =>
        store.shares.put(shareRow(), applied(created, signature), ROOM)
      for (let index = 0; index < 32; index++) await put(START, `signature-${index}`)
      expect(await put(START, 'one more')).toBe('superseded')
      expect(await put(START, 'signature-0')).toBe('unchanged')
      expect(await put(START + 1, 'signature-0')).toBe('replaced')
      expect(await put(START + 1, 'one more')).toBe('replaced')
    })

    it('lets a revocation through, however many requests of its second came before', async () => {
      const { store } = await opened()
      for (let index = 0; index < 40; index++) {
        await store.shares.put(shareRow(), applied(START, `signature-${index}`), ROOM)
      }
      expect(await store.shares.revoke(KEY, applied(START, 'the revocation'), REVOCATION)).toBe('revoked')
      expect(await store.shares.put(shareRow(), applied(START, 'signature-0'), ROOM)).toBe('superseded')
      expect(await store.shares.put(shareRow(), applied(START, 'signature-31'), ROOM)).toBe('superseded')
    })

    it('lists the rows of one domain, tombstones too, up to a limit', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow({ shareId: '1' }), applied(START), ROOM)
      await store.shares.revoke({ ...KEY, shareId: '2' }, applied(START), REVOCATION)
      await store.shares.put(shareRow({ senderDomain: 'other.example' }), applied(START), ROOM)
      const listed = await store.shares.list(KEY.senderDomain, 10)
      expect(listed.map(({ shareId, state }) => `${shareId} ${state}`).toSorted()).toEqual(['1 live', '2 revoked'])
      expect(await store.shares.list(KEY.senderDomain, 1)).toHaveLength(1)
    })

    it('refuses a new share beyond the limit of its domain, and no other', async () => {
      const { store } = await opened()
      const put = (change: Partial<ShareRow>, created = START) =>
        store.shares.put(shareRow(change), applied(created), { limit: 2 })
      expect(await put({ shareId: '1' })).toBe('stored')
      expect(await put({ shareId: '2' })).toBe('stored')
      expect(await put({ shareId: '3' })).toBe('full')
      expect(await store.shares.get({ ...KEY, shareId: '3' })).toBeUndefined()
      expect(await put({ shareId: '2' }, START + 1)).toBe('replaced')
      expect(await put({ shareId: '3', senderDomain: 'other.example' })).toBe('stored')
    })

    it('counts live rows only, so that a revocation makes room', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow({ shareId: '1' }), applied(START), { limit: 1 })
      await store.shares.revoke({ ...KEY, shareId: '1' }, applied(START + 1), REVOCATION)
      expect(await store.shares.count(DOMAIN)).toBe(0)
      expect(await store.shares.put(shareRow({ shareId: '2' }), applied(START), { limit: 1 })).toBe('stored')
      expect(await store.shares.put(shareRow({ shareId: '1' }), applied(START + 2), { limit: 1 })).toBe('full')
      expect(await store.shares.count(DOMAIN)).toBe(1)
    })

    it('keeps at most so many tombstones of shares it never knew, but one of every share it did', async () => {
      const { store } = await opened()
      const revoke = (shareId: string) =>
        store.shares.revoke({ ...KEY, shareId }, applied(START + 1), { ...REVOCATION, limit: 1 })
      await store.shares.put(shareRow({ shareId: 'known' }), applied(START), ROOM)
      expect(await revoke('unknown-1')).toBe('gone')
      expect(await revoke('unknown-2')).toBe('gone')
      expect(await revoke('known')).toBe('revoked')
      expect(await store.shares.get({ ...KEY, shareId: 'unknown-1' })).toMatchObject({ state: 'revoked' })
      expect(await store.shares.get({ ...KEY, shareId: 'unknown-2' })).toBeUndefined()
      expect(await store.shares.get({ ...KEY, shareId: 'known' })).toMatchObject({ state: 'revoked' })
    })

    it('fills the last places once when many ask at the same time', async () => {
      const { store } = await opened()
      const answers = await Promise.all(
        twenty.map((index) => store.shares.put(shareRow({ shareId: `${index}` }), applied(START), { limit: 5 })),
      )
      expect(answers.filter((answer) => answer === 'stored')).toHaveLength(5)
      expect(answers.filter((answer) => answer === 'full')).toHaveLength(15)
      expect(await store.shares.count(DOMAIN)).toBe(5)
    })

    it('answers revoked once when many revoke at the same time', async () => {
      const { store } = await opened()
      await store.shares.put(shareRow(), applied(START), ROOM)
      const answers = await Promise.all(
        twenty.map((index) => store.shares.revoke(KEY, applied(START + 1, `signature-${index}`), REVOCATION)),
      )
      expect(answers.filter((answer) => answer === 'revoked')).toHaveLength(1)
      expect(answers.filter((answer) => answer === 'gone')).toHaveLength(19)
    })

    it('forgets a tombstone once its time has passed, before it is swept', async () => {
      const { store, advance } = await opened()
      await store.shares.revoke(KEY, applied(START), { ...REVOCATION, keepUntil: START + 60 })
      await advance(59)
      expect(await store.shares.get(KEY)).toMatchObject({ state: 'revoked' })
      await advance(1)
      expect(await store.shares.get(KEY)).toBeUndefined()
      expect(await store.shares.put(shareRow(), applied(START - 1), ROOM)).toBe('stored')
      expect(await store.shares.count(DOMAIN)).toBe(1)
    })

    it('keeps a tombstone for the longest time that any of its revocations asked for', async () => {
      const { store, now, advance } = await opened()
      await store.shares.revoke(KEY, applied(START), { ...REVOCATION, keepUntil: START + 60 })
      await store.shares.revoke(KEY, applied(START + 1), { ...REVOCATION, keepUntil: START + 30 })
      await advance(59)
      await store.shares.sweep(now())
      expect(await store.shares.get(KEY)).toMatchObject({ state: 'revoked' })
    })

    it('sweeps tombstones past their time, which makes room for others', async () => {
      const { store, now, advance } = await opened()
      const revocation = { now: START, keepUntil: START + 60, limit: 1 }
      await store.shares.revoke(KEY, applied(START), revocation)
      await advance(60)
      await store.shares.sweep(now())
      const other = { ...KEY, shareId: 'other' }
      await store.shares.revoke(other, applied(START), { ...revocation, keepUntil: START + DAY })
      expect(await store.shares.get(other)).toMatchObject({ state: 'revoked' })
    })

    it('sweeps rows a day after they expired, and no others', async () => {
      const { store, now, advance } = await opened()
      await store.shares.put(shareRow({ shareId: 'brief', expiresAt: START + 60 }), applied(START), ROOM)
      await store.shares.put(shareRow({ shareId: 'lasting' }), applied(START), ROOM)
      await advance(60 + DAY - 1)
      await store.shares.sweep(now())
      expect(await store.shares.get({ ...KEY, shareId: 'brief' })).toMatchObject({ state: 'live' })
      await advance(1)
      await store.shares.sweep(now())
      expect(await store.shares.get({ ...KEY, shareId: 'brief' })).toBeUndefined()
      expect(await store.shares.get({ ...KEY, shareId: 'lasting' })).toMatchObject({ state: 'live' })
      expect(await store.shares.count(DOMAIN)).toBe(1)
    })

    it('keeps a row that arrived long expired in the way of an older provisioning', async () => {
      const { store, now } = await opened()
      await store.shares.put(shareRow(), applied(START - 1), ROOM)
      await store.shares.put(shareRow({ expiresAt: START - 7 * DAY }), applied(START), ROOM)
      await store.shares.sweep(now())
      expect(await store.shares.put(shareRow(), applied(START - 1), ROOM)).toBe('superseded')
    })
  })

  describe(`${name}: sessions`, () => {
    it('does not know what was never opened', async () => {
      const { store } = await opened()
      expect(await store.sessions.get('hash-1')).toBeUndefined()
      expect(await store.sessions.update(sessionRow(), sessionRow().data)).toBe(false)
      expect(await store.sessions.end(endedSession(), REMAINDER)).toBeUndefined()
      expect(await store.sessions.get('hash-1')).toBeUndefined()
    })

    it('returns a session as it was opened', async () => {
      const { store } = await opened()
      expect(await store.sessions.open(sessionRow({ deadline: START + 0.25 }), ROOM)).toBe('opened')
      expect(await store.sessions.get('hash-1')).toStrictEqual(sessionRow({ deadline: START + 0.25 }))
    })

    it('opens no session beyond the limit of its domain until one ends', async () => {
      const { store } = await opened()
      const open = (idHash: string, senderDomain = DOMAIN) =>
        store.sessions.open(sessionRow({ idHash, senderDomain }), { limit: 1 })
      expect(await open('hash-1')).toBe('opened')
      expect(await open('hash-2')).toBe('full')
      expect(await store.sessions.get('hash-2')).toBeUndefined()
      expect(await open('hash-3', 'other.example')).toBe('opened')
      await store.sessions.end(endedSession(), REMAINDER)
      expect(await open('hash-2')).toBe('opened')
    })

    it('fills the last places once when many open at the same time', async () => {
      const { store } = await opened()
      const answers = await Promise.all(
        twenty.map((index) => store.sessions.open(sessionRow({ idHash: `hash-${index}` }), { limit: 5 })),
      )
      expect(answers.filter((answer) => answer === 'opened')).toHaveLength(5)
      expect(await store.sessions.count('notebooks')).toBe(5)
    })

    it('replaces the row of a live session, and its counts and its share with it', async () => {
      const { store } = await opened()
      await store.sessions.open(sessionRow(), ROOM)
      const moved = sessionRow({ webapp: 'office', senderDomain: 'other.example', shareId: '7', data: '{}' })
      expect(await store.sessions.update(moved, sessionRow().data)).toBe(true)
      expect(await store.sessions.get('hash-1')).toStrictEqual(moved)
      expect(await store.sessions.ofShare(KEY)).toEqual([])
      expect(await store.sessions.ofShare(moved)).toEqual([moved])
      expect(await store.sessions.count('notebooks')).toBe(0)
      expect(await store.sessions.count('office')).toBe(1)
      expect(await store.sessions.open(sessionRow({ idHash: 'hash-2' }), { limit: 1 })).toBe('opened')
    })

    it('lets one of many who change a session from the same state succeed', async () => {
      const { store } = await opened()
      await store.sessions.open(sessionRow(), ROOM)
      const answers = await Promise.all(
        twenty.map((index) => store.sessions.update(sessionRow({ data: `changed ${index}` }), sessionRow().data)),
      )
      expect(answers.filter(Boolean)).toHaveLength(1)
      expect(await store.sessions.get('hash-1')).toMatchObject({ data: `changed ${answers.indexOf(true)}` })
    })

    it('moves the deadline of a live session and nothing else', async () => {
      const { store } = await opened()
      await store.sessions.open(sessionRow(), ROOM)
      await store.sessions.touch('hash-1', START + 7200)
      expect(await store.sessions.get('hash-1')).toStrictEqual(sessionRow({ deadline: START + 7200 }))
    })

    it('ends a session: returns it, and leaves what remains', async () => {
      const { store } = await opened()
      await store.sessions.open(sessionRow(), ROOM)
      expect(await store.sessions.end(endedSession(), REMAINDER)).toStrictEqual(sessionRow())
      expect(await store.sessions.get('hash-1')).toStrictEqual(endedSession())
      expect(await store.sessions.ofShare(KEY)).toEqual([])
      expect(await store.sessions.due(START + DAY, 10)).toEqual([])
      expect(await store.sessions.count('notebooks')).toBe(0)
    })

    it('gives an ended session to exactly one of many who end it at the same time', async () => {
      const { store } = await opened()
      await store.sessions.open(sessionRow(), ROOM)
      const answers = await Promise.all(
        twenty.map((index) => store.sessions.end(endedSession({ reason: `reason-${index}` }), REMAINDER)),
      )
      expect(answers.filter((answer) => answer !== undefined)).toEqual([sessionRow()])
      const winner = answers.findIndex((answer) => answer !== undefined)
      expect(await store.sessions.get('hash-1')).toMatchObject({ reason: `reason-${winner}` })
      expect(await store.sessions.count('notebooks')).toBe(0)
    })

    it('never brings an ended session back', async () => {
      const { store } = await opened()
      await store.sessions.open(sessionRow(), ROOM)
      const [ended, ...updates] = await Promise.all([
        store.sessions.end(endedSession(), REMAINDER),
        ...twenty.map((index) => store.sessions.update(sessionRow({ data: `${index}` }), sessionRow().data)),
        ...twenty.map((index) => store.sessions.touch('hash-1', START + index)),
      ])
      expect(ended).toBeDefined()
      expect(updates.every((answer) => !answer)).toBe(true)
      expect(await store.sessions.get('hash-1')).toStrictEqual(endedSession())
    })

    it('lists the live sessions of one share', async () => {
      const { store } = await opened()
      const rows = ['hash-1', 'hash-2', 'hash-3'].map((idHash) => sessionRow({ idHash }))
      for (const row of rows) await store.sessions.open(row, ROOM)
      await store.sessions.open(sessionRow({ idHash: 'hash-4', shareId: 'another' }), ROOM)
      await store.sessions.open(sessionRow({ idHash: 'hash-5', senderDomain: 'other.example' }), ROOM)
      await store.sessions.end(endedSession({ idHash: 'hash-2' }), REMAINDER)
      const listed = await store.sessions.ofShare(KEY)
      expect(listed.toSorted((a, b) => a.idHash.localeCompare(b.idHash))).toStrictEqual([rows[0], rows[2]])
    })

    it('lists sessions whose deadline has passed, oldest first, up to the limit', async () => {
      const { store } = await opened()
      for (const seconds of [30, 10, 40, 20]) {
        await store.sessions.open(sessionRow({ idHash: `hash-${seconds}`, deadline: START + seconds }), ROOM)
      }
      const due = async (seconds: number, limit: number) =>
        (await store.sessions.due(START + seconds, limit)).map(({ idHash }) => idHash)
      expect(await due(9, 10)).toEqual([])
      expect(await due(30, 10)).toEqual(['hash-10', 'hash-20', 'hash-30'])
      expect(await due(30, 2)).toEqual(['hash-10', 'hash-20'])
      await store.sessions.touch('hash-10', START + 99)
      expect(await due(30, 2)).toEqual(['hash-20', 'hash-30'])
    })

    it('has the ids of all live sessions', async () => {
      const { store } = await opened()
      expect(await store.sessions.ids()).toEqual([])
      for (const idHash of ['hash-1', 'hash-2', 'hash-3']) await store.sessions.open(sessionRow({ idHash }), ROOM)
      await store.sessions.end(endedSession({ idHash: 'hash-2' }), REMAINDER)
      expect((await store.sessions.ids()).toSorted()).toEqual(['hash-1', 'hash-3'])
    })

    it('keeps what remains of a session until its time has passed, swept or not', async () => {
      const { store, now, advance } = await opened()
      await store.sessions.open(sessionRow(), ROOM)
      await store.sessions.end(endedSession(), { keepUntil: START + 60 })
      await advance(59)
      await store.sessions.sweep(now())
      expect(await store.sessions.get('hash-1')).toMatchObject({ state: 'ended' })
      await advance(1)
      expect(await store.sessions.get('hash-1')).toBeUndefined()
      await store.sessions.sweep(now())
      expect(await store.sessions.get('hash-1')).toBeUndefined()
    })

    it('does not sweep live sessions, however late', async () => {
      const { store, now, advance } = await opened()
      await store.sessions.open(sessionRow({ deadline: START + 1 }), ROOM)
      await advance(30 * DAY)
      await store.sessions.sweep(now())
      expect(await store.sessions.get('hash-1')).toMatchObject({ state: 'live' })
    })
  })

  describe(`${name}: workloads`, () => {
    it('stores, replaces and deletes a workload by webapp and name', async () => {
      const { store } = await opened()
      await store.workloads.put(workload())
      expect(await store.workloads.get('notebooks', 'server-1')).toStrictEqual(workload())
      await store.workloads.put(workload({ shareId: '7', data: '{}' }))
      expect(await store.workloads.get('notebooks', 'server-1')).toStrictEqual(workload({ shareId: '7', data: '{}' }))
      await store.workloads.delete('notebooks', 'server-1')
      await store.workloads.delete('notebooks', 'server-1')
      expect(await store.workloads.get('notebooks', 'server-1')).toBeUndefined()
    })

    it('lists the workloads of one webapp', async () => {
      const { store } = await opened()
      for (const name of ['server-1', 'server-2']) await store.workloads.put(workload({ name }))
      await store.workloads.put(workload({ webapp: 'other' }))
      const listed = await store.workloads.list('notebooks')
      expect(listed.map(({ name }) => name).toSorted()).toEqual(['server-1', 'server-2'])
      expect(await store.workloads.list('unknown')).toEqual([])
    })
  })

  describe(`${name}: notes`, () => {
    it('stores, replaces and deletes a note by space and id', async () => {
      const { store } = await opened()
      await store.notes.put(note())
      expect(await store.notes.get('locks', 'a-1')).toStrictEqual(note())
      await store.notes.put(note({ data: 'other', expiresAt: START + 60 }))
      expect(await store.notes.get('locks', 'a-1')).toStrictEqual(note({ data: 'other', expiresAt: START + 60 }))
      expect(await store.notes.get('tokens', 'a-1')).toBeUndefined()
      await store.notes.delete('locks', 'a-1')
      await store.notes.delete('locks', 'a-1')
      expect(await store.notes.get('locks', 'a-1')).toBeUndefined()
    })

    it('of twenty who replace the same note at once, one does', async () => {
      const { store } = await opened()
      const first = await Promise.all(twenty.map((n) => store.notes.replace(note({ data: `first ${n}` }), undefined)))
      expect(first.filter(Boolean)).toHaveLength(1)
      const held = (await store.notes.get('locks', 'a-1'))?.data
      const second = await Promise.all(twenty.map((n) => store.notes.replace(note({ data: `second ${n}` }), held)))
      expect(second.filter(Boolean)).toHaveLength(1)
      expect((await store.notes.get('locks', 'a-1'))?.data).toBe(`second ${second.indexOf(true)}`)
      expect(await store.notes.replace(note({ data: 'late' }), held)).toBe(false)
    })

    it('does not know a note from the second of its expiry on, and what expired may be made anew', async () => {
      const { store, advance } = await opened()
      await store.notes.put(note({ expiresAt: START + 2 }))
      await advance(1)
      expect(await store.notes.get('locks', 'a-1')).toBeDefined()
      await advance(1)
      expect(await store.notes.get('locks', 'a-1')).toBeUndefined()
      expect(await store.notes.list('locks', '', 10)).toEqual([])
      expect(await store.notes.replace(note({ data: 'anew' }), undefined)).toBe(true)
      expect(await store.notes.get('locks', 'a-1')).toStrictEqual(note({ data: 'anew' }))
    })

    it('lists what begins with a prefix, in the order of ids', async () => {
      const { store } = await opened()
      for (const id of ['b-1', 'a-10', 'a-2', 'a-1', 'a']) await store.notes.put(note({ id }))
      await store.notes.put(note({ space: 'tokens', id: 'a-3' }))
      const ids = async (prefix: string, limit: number) =>
        (await store.notes.list('locks', prefix, limit)).map(({ id }) => id)
      expect(await ids('a-', 10)).toEqual(['a-1', 'a-10', 'a-2'])
      expect(await ids('a-', 2)).toEqual(['a-1', 'a-10'])
      expect(await ids('', 10)).toEqual(['a', 'a-1', 'a-10', 'a-2', 'b-1'])
      expect(await ids('c', 10)).toEqual([])
    })

    it('sweeps what has expired and nothing else', async () => {
      const { store, now } = await opened()
      const end = now() + 3600
      await store.notes.put(note({ id: 'old', expiresAt: end }))
      await store.notes.put(note({ id: 'new', expiresAt: end + 1 }))
      await store.notes.put(note({ id: 'always' }))
      await store.notes.sweep(end)
      expect((await store.notes.list('locks', '', 10)).map(({ id }) => id)).toEqual(['always', 'new'])
    })
  })

  describe(`${name}: bus`, () => {
    const ended: BusMessage = { type: 'session.ended', idHash: 'hash-1', reason: 'logout' }
    const changed: BusMessage = { type: 'session.changed', idHash: 'hash-1', cut: false }

    it('tells every subscriber what happens to sessions, before the operation resolves, until it unsubscribes', async () => {
      const { store } = await opened()
      const heard: unknown[] = []
      await store.sessions.open(sessionRow(), ROOM)
      const unsubscribe = store.bus.subscribe((message) => heard.push(['first', message]))
      store.bus.subscribe((message) => heard.push(['second', message]))
      await store.sessions.update(sessionRow({ data: '{}' }), sessionRow().data)
      expect(heard.splice(0)).toEqual([
        ['first', changed],
        ['second', changed],
      ])
      unsubscribe()
      unsubscribe()
      await store.sessions.update(sessionRow(), '{}', { cut: true })
      await store.sessions.end(endedSession(), REMAINDER)
      expect(heard).toEqual([
        ['second', { ...changed, cut: true }],
        ['second', ended],
      ])
    })

    it('tells nothing of what did not happen', async () => {
      const { store } = await opened()
      const heard: BusMessage[] = []
      store.bus.subscribe((message) => heard.push(message))
      await store.sessions.open(sessionRow(), ROOM)
      await store.sessions.update(sessionRow(), 'something else')
      await store.sessions.end(endedSession(), REMAINDER)
      await store.sessions.end(endedSession(), REMAINDER)
      await store.sessions.update(sessionRow(), sessionRow().data)
      expect(heard).toEqual([ended])
    })

    it('tells of a workload when it is put, put again or deleted, before the operation resolves', async () => {
      const { store } = await opened()
      const heard: BusMessage[] = []
      store.bus.subscribe((message) => heard.push(message))
      const changed: BusMessage = { type: 'workload.changed', webapp: 'notebooks', name: 'server-1' }
      await store.workloads.put(workload())
      expect(heard.splice(0)).toEqual([changed])
      await store.workloads.put(workload({ data: '{}' }))
      expect(heard.splice(0)).toEqual([changed])
      await store.workloads.delete('notebooks', 'server-1')
      expect(heard).toEqual([changed])
    })

    it('counts a listener that subscribed twice as two', async () => {
      const { store } = await opened()
      const heard: BusMessage[] = []
      const listener = (message: BusMessage) => void heard.push(message)
      const unsubscribe = store.bus.subscribe(listener)
      store.bus.subscribe(listener)
      unsubscribe()
      await store.sessions.open(sessionRow(), ROOM)
      await store.sessions.end(endedSession(), REMAINDER)
      expect(heard).toEqual([ended])
    })

    it('hears', async () => {
      const { store } = await opened()
      await expect.poll(() => store.bus.hearing()).toBe(true)
    })
  })

  describe(`${name}: locks`, () => {
    it('runs one holder of a name at a time, and returns what its work returns', async () => {
      const { store } = await opened()
      let running = 0
      let most = 0
      const work = (index: number) => async () => {
        running += 1
        most = Math.max(most, running)
        await new Promise(setImmediate)
        running -= 1
        return index
      }
      const results = await Promise.all(twenty.map((index) => store.lock('same', 10, work(index))))
      expect(results).toEqual(twenty)
      expect(most).toBe(1)
    })

    it('lets holders of different names run side by side', async () => {
      const { store } = await opened()
      const inner = store.lock('outer', 10, () => store.lock('inner', 10, async () => 'done'))
      expect(await inner).toBe('done')
    })

    it('passes on what the work throws, and frees the name', async () => {
      const { store } = await opened()
      const failing = store.lock('same', 10, async () => {
        throw new RangeError('no')
      })
      await expect(failing).rejects.toThrow(RangeError)
      expect(await store.lock('same', 10, async () => 'next')).toBe('next')
    })
  })

  describe(`${name}: availability`, () => {
    it('answers a ping', async () => {
      const { store } = await opened()
      await expect(store.ping()).resolves.toBeUndefined()
    })

    it.each(OPERATIONS)('answers store_unavailable to $operation once it is closed', async ({ run }) => {
      const { store } = await opened()
      await store.close()
      await expect(run(store)).rejects.toMatchObject({ status: 503, reason: 'store_unavailable' })
    })

    it('may be closed twice', async () => {
      const { store } = await opened()
      await store.close()
      await expect(store.close()).resolves.toBeUndefined()
    })
  })
}

/** Stores answer the same to the same requests about shares, whatever their order. */
export async function expectSameAnswers(stores: readonly Store[], numRuns: number): Promise<void> {
  const request = fc.record({
    kind: fc.constantFrom('put', 'put', 'revoke', 'sweep'),
    shareId: fc.constantFrom('a', 'b', 'c'),
    created: fc.integer({ min: START - 2, max: START + 2 }),
    signature: fc.constantFrom('s', 't', 'u'),
    expiresAt: fc.constantFrom(undefined, START - 200_000, START + 60),
  })
  let run = 0
  const sameAnswers = fc.asyncProperty(fc.array(request, { maxLength: 30 }), async (requests) => {
    run += 1
    const senderDomain = `${run}.example`
    const answersOf = async ({ shares }: Store) => {
      const answers: unknown[] = []
      for (const { kind, shareId, created, signature, expiresAt } of requests) {
        const key = { senderDomain, shareId }
        const request = applied(created, `${kind} ${signature}`)
        const revocation = { now: START, keepUntil: START + 60, limit: 2 }
        if (kind === 'put') answers.push(await shares.put(shareRow({ ...key, expiresAt }), request, { limit: 2 }))
        if (kind === 'revoke') answers.push(await shares.revoke(key, request, revocation))
        if (kind === 'sweep') await shares.sweep(START)
        answers.push(await shares.get(key), await shares.count(senderDomain))
      }
      return answers
    }
    const [first, ...others] = await Promise.all(stores.map(answersOf))
    for (const other of others) expect(other).toEqual(first)
  })
  await fc.assert(sameAnswers, { numRuns })
}

/** Every operation that asks the store, for what must hold for all of them. */
export const OPERATIONS: { operation: string; run: (store: Store) => Promise<unknown> }[] = [
  { operation: 'shares.get', run: ({ shares }) => shares.get(KEY) },
  { operation: 'shares.put', run: ({ shares }) => shares.put(shareRow(), applied(START), ROOM) },
  { operation: 'shares.revoke', run: ({ shares }) => shares.revoke(KEY, applied(START), REVOCATION) },
  { operation: 'shares.count', run: ({ shares }) => shares.count(DOMAIN) },
  { operation: 'shares.sweep', run: ({ shares }) => shares.sweep(START) },
  { operation: 'sessions.get', run: ({ sessions }) => sessions.get('hash-1') },
  { operation: 'sessions.open', run: ({ sessions }) => sessions.open(sessionRow(), ROOM) },
  { operation: 'sessions.update', run: ({ sessions }) => sessions.update(sessionRow(), '{}') },
  { operation: 'sessions.touch', run: ({ sessions }) => sessions.touch('hash-1', START) },
  { operation: 'sessions.end', run: ({ sessions }) => sessions.end(endedSession(), REMAINDER) },
  { operation: 'sessions.ofShare', run: ({ sessions }) => sessions.ofShare(KEY) },
  { operation: 'sessions.due', run: ({ sessions }) => sessions.due(START, 1) },
  { operation: 'sessions.ids', run: ({ sessions }) => sessions.ids() },
  { operation: 'sessions.count', run: ({ sessions }) => sessions.count('notebooks') },
  { operation: 'sessions.sweep', run: ({ sessions }) => sessions.sweep(START) },
  { operation: 'workloads.put', run: ({ workloads }) => workloads.put(workload()) },
  { operation: 'workloads.get', run: ({ workloads }) => workloads.get('notebooks', 'server-1') },
  { operation: 'workloads.delete', run: ({ workloads }) => workloads.delete('notebooks', 'server-1') },
  { operation: 'workloads.list', run: ({ workloads }) => workloads.list('notebooks') },
  { operation: 'notes.get', run: ({ notes }) => notes.get('locks', 'a-1') },
  { operation: 'notes.put', run: ({ notes }) => notes.put(note()) },
  { operation: 'notes.replace', run: ({ notes }) => notes.replace(note(), undefined) },
  { operation: 'notes.delete', run: ({ notes }) => notes.delete('locks', 'a-1') },
  { operation: 'notes.list', run: ({ notes }) => notes.list('locks', '', 1) },
  { operation: 'notes.sweep', run: ({ notes }) => notes.sweep(START) },
  { operation: 'ping', run: (store) => store.ping() },
]
