import { describe, expect, it, onTestFinished } from 'vitest'
import { openRedisStore } from '../../src/store/redis.ts'
import type { RedisAddress } from '../../src/store/redis-connection.ts'
import type { BusMessage, Store } from '../../src/store/store.ts'
import { addressOf, type RedisServer, startRedis, startSentinel } from './redis-server.ts'
import { applied, START, shareRow } from './store.ts'

const KEY = { senderDomain: 'cloud.example.org', shareId: '42' }
const SESSION = { ...KEY, state: 'live', idHash: 'hash-1', webapp: 'a', deadline: START + 60, data: '{}' } as const
const REMAINS = { webapp: 'a', reason: 'revoked', endedAt: START, data: '{}' }
const ENDED = { ...REMAINS, state: 'ended', idHash: 'hash-1' } as const
const ROOM = { limit: 100 }
const REVOCATION = { now: START, keepUntil: START + 60, limit: 100 }
const PATIENCE = { timeout: 10_000 }

const warnings: string[] = []

async function opened(address: RedisAddress): Promise<Store> {
  const store = await openRedisStore(address, { now: () => START, warn: (message) => warnings.push(message) })
  onTestFinished(() => store.close())
  await expect.poll(() => store.bus.hearing(), PATIENCE).toBe(true)
  return store
}

async function started(): Promise<RedisServer> {
  const redis = await startRedis()
  onTestFinished(() => redis.stop())
  return redis
}

/**
 * A master, and a second one that was its replica and is a master, too, with all that the first had until then. The store is
 * at the first one, until it is led to the other.
 */
async function splitMaster(before: (store: Store) => Promise<unknown>) {
  const [first, second] = [await started(), await started()]
  await second.admin.replicaof('127.0.0.1', first.port)
  const sentinel = await startSentinel(first.port)
  onTestFinished(() => sentinel.stop())
  await expect.poll(() => second.admin.info('replication'), PATIENCE).toContain('master_link_status:up')
  const store = await opened(addressOf([sentinel.port], { master: 'main' }))
  await before(store)
  await first.admin.wait(1, 5000)
  await second.admin.replicaof('NO', 'ONE')
  // Else it would make the second one a replica again.
  await sentinel.watch(first.port)
  await expect.poll(() => first.admin.info('replication'), PATIENCE).toContain('connected_slaves:0')
  return {
    store,
    second,
    /** Another gateway, that found the second one already. */
    other: await opened(second.address()),
    async lead(): Promise<void> {
      await sentinel.watch(second.port)
      for (const type of ['normal', 'pubsub']) await first.admin.call('CLIENT', 'KILL', 'TYPE', type)
    },
  }
}

/** Everything that it says, until it says something. */
const firstAnswer = <T>(ask: () => Promise<T>) =>
  new Promise<T>((resolve) => {
    const again = () => ask().then(resolve, () => setTimeout(again, 1))
    again()
  })

describe('over Sentinel, what a store answered and another master does not have', () => {
  it('is written there again before anything is believed, and every gateway hears of it', async () => {
    const lost = { ...KEY, shareId: 'lost' }
    const { store, other, lead } = await splitMaster(async ({ shares, sessions }) => {
      await shares.put(shareRow(), applied(START), ROOM)
      await sessions.open(SESSION, ROOM)
    })
    const heard: BusMessage[] = []
    const heardThere: string[] = []
    store.bus.subscribe((message) => heard.push(message))
    other.bus.subscribe(({ type }) => heardThere.push(type))
    warnings.length = 0
    expect(await store.shares.revoke(KEY, applied(START + 1), REVOCATION)).toBe('revoked')
    expect(await store.sessions.end(ENDED, { keepUntil: START + 60 })).toEqual(SESSION)
    expect(await store.shares.put(shareRow(lost), applied(START), ROOM)).toBe('stored')
    expect(await other.shares.get(KEY)).toMatchObject({ state: 'live' })
    await lead()
    await expect.poll(() => store.bus.hearing(), { interval: 1 }).toBe(false)
    const whenHeard = new Promise((resolve) => {
      const look = () => (store.bus.hearing() ? resolve(other.shares.get(KEY)) : setTimeout(look, 1))
      look()
    })
    const [share, session] = await Promise.all([
      firstAnswer(() => store.shares.get(KEY)),
      firstAnswer(() => store.sessions.get('hash-1')),
    ])
    expect([share?.state, session?.state]).toEqual(['revoked', 'ended'])
    expect(await whenHeard).toMatchObject({ state: 'revoked' })
    expect(await other.shares.get(lost)).toStrictEqual(shareRow(lost))
    expect(heardThere).toEqual(['session.ended'])
    const again = heard.filter(({ type }) => type === 'share.again')
    expect(again).toEqual([KEY, lost].map((key) => ({ type: 'share.again', ...key })))
    expect(warnings).toEqual([expect.stringContaining('lost 3 of the last writes')])
  })

  it('is not believed for as long as it cannot be written', async () => {
    const { store, second, lead } = await splitMaster(({ shares }) => shares.put(shareRow(), applied(START), ROOM))
    await store.shares.revoke(KEY, applied(START + 1), REVOCATION)
    await second.admin.config('SET', 'min-replicas-to-write', '1')
    await lead()
    const clients = async () => ((await second.admin.client('LIST')) as string).split('\n').length
    const before = await clients()
    await expect.poll(clients, PATIENCE).toBeGreaterThan(before)
    const until = performance.now() + 1000
    while (performance.now() < until) {
      await expect(store.shares.count(KEY.senderDomain)).rejects.toMatchObject({ reason: 'store_unavailable' })
      expect(store.bus.hearing()).toBe(false)
    }
    await second.admin.config('SET', 'min-replicas-to-write', '0')
    expect(await firstAnswer(() => store.shares.count(KEY.senderDomain))).toBe(0)
    expect((await store.shares.get(KEY))?.state).toBe('revoked')
  })

  it('is written when the memory of that one is full, and beyond the limit of its domain', async () => {
    const { store, other, second, lead } = await splitMaster(async () => {})
    await store.shares.put(shareRow(), applied(START), { limit: 1 })
    await other.shares.put(shareRow({ shareId: 'other' }), applied(START), { limit: 1 })
    await second.admin.config('SET', 'maxmemory', '1')
    await lead()
    expect(await firstAnswer(() => store.shares.get(KEY))).toStrictEqual(shareRow())
    expect(await store.shares.count(KEY.senderDomain)).toBe(2)
  })

  it('is only as much as a process may keep: of more, the newest', async () => {
    const { store, lead } = await splitMaster(async () => {})
    const [oldest, ...newer] = ['a', 'b', 'c', 'd'].map((shareId) => shareRow({ shareId, data: shareId.repeat(5e6) }))
    for (const row of [oldest, ...newer]) if (row) await store.shares.put(row, applied(START), ROOM)
    await lead()
    expect(await firstAnswer(() => store.shares.count(KEY.senderDomain))).toBe(newer.length)
    expect(await store.shares.get({ ...KEY, shareId: 'a' })).toBeUndefined()
  })

  it('undoes nothing that is newer there, and brings back nothing that was revoked in the same second', async () => {
    const ids = ['newer', 'same second', 'gone']
    const rows = ids.map((shareId) => shareRow({ shareId }))
    const { store, other, lead } = await splitMaster(async () => {})
    for (const row of rows) await store.shares.put(row, applied(START, row.shareId), ROOM)
    await store.shares.revoke({ ...KEY, shareId: 'gone' }, applied(START + 1), REVOCATION)
    const renewed = shareRow({ shareId: 'newer', data: 'newer', created: START + 1 })
    await other.shares.put(renewed, applied(START + 1), ROOM)
    await other.shares.revoke({ ...KEY, shareId: 'same second' }, applied(START, 'revoked'), REVOCATION)
    const again = shareRow({ shareId: 'gone', created: START + 2 })
    await other.shares.put(again, applied(START + 2), ROOM)
    await lead()
    const stateOf = (shareId: string) => firstAnswer(() => store.shares.get({ ...KEY, shareId }))
    expect(await stateOf('newer')).toStrictEqual(renewed)
    expect(await stateOf('same second')).toMatchObject({ state: 'revoked' })
    expect(await stateOf('gone')).toStrictEqual(again)
    expect(await store.shares.put(rows[1] ?? again, applied(START, 'same second'), ROOM)).toBe('superseded')
  })
})

it('without Sentinel nothing is kept: what a Redis has lost stays lost', async () => {
  const redis = await started()
  const store = await opened(redis.address())
  await store.shares.put(shareRow(), applied(START), ROOM)
  await redis.admin.flushall()
  await redis.admin.call('CLIENT', 'KILL', 'TYPE', 'normal')
  expect(await firstAnswer(() => store.shares.get(KEY))).toBeUndefined()
})
