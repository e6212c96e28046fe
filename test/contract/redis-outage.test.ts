import { describe, expect, it, onTestFinished } from 'vitest'
import { openRedisStore } from '../../src/store/redis.ts'
import type { RedisAddress } from '../../src/store/redis-connection.ts'
import type { Store } from '../../src/store/store.ts'
import { addressOf, startRedis, startSentinel } from './redis-server.ts'
import { applied, OPERATIONS, START, shareRow } from './store.ts'

const KEY = { senderDomain: 'cloud.example.org', shareId: '42' }
const ROOM = { limit: 100 }
const UNAVAILABLE = { status: 503, reason: 'store_unavailable', retryAfterSeconds: 10 }
/** The longest that an operation may take to fail. */
const PATIENCE_MS = 3000

async function started(more: readonly string[] = []) {
  const redis = await startRedis(more)
  onTestFinished(() => redis.stop())
  return redis
}

async function opened(address: RedisAddress): Promise<Store> {
  const store = await openRedisStore(address, { now: () => START, warn: () => {} })
  onTestFinished(() => store.close())
  await hears(store)
  return store
}

const hears = (store: Store) => expect.poll(() => store.bus.hearing(), { timeout: 10_000 }).toBe(true)
const answers = (store: Store) =>
  expect
    .poll(
      () =>
        store.ping().then(
          () => 'yes',
          () => 'no',
        ),
      { timeout: 10_000 },
    )
    .toBe('yes')

/** Every operation fails, as an operation that cannot tell, within the time. */
async function expectUnavailable(store: Store, operations = OPERATIONS, within = PATIENCE_MS) {
  const startedAt = performance.now()
  const outcomes = operations.map(async ({ operation, run }) => {
    await expect(run(store), operation).rejects.toMatchObject(UNAVAILABLE)
  })
  await Promise.all(outcomes)
  expect(performance.now() - startedAt).toBeLessThan(within)
}

const WRITES = OPERATIONS.filter(({ operation }) =>
  ['shares.put', 'sessions.open', 'workloads.put', 'notes.put'].includes(operation),
)

describe('while Redis is gone', () => {
  it('every operation fails at once, and all works again after, with all that was answered', async () => {
    const redis = await started()
    const store = await opened(redis.address())
    const heard: string[] = []
    store.bus.subscribe(({ type }) => heard.push(type))
    expect(await store.shares.put(shareRow(), applied(START), ROOM)).toBe('stored')
    await redis.kill()
    await expect.poll(() => store.bus.hearing()).toBe(false)
    await expectUnavailable(store)
    await expect(store.lock('a', 10, async () => 'ran')).rejects.toMatchObject(UNAVAILABLE)
    expect(heard).toEqual(['missed'])
    await redis.restart()
    await answers(store)
    await hears(store)
    expect(await store.shares.get(KEY)).toStrictEqual(shareRow())
  })

  it('no gateway starts', async () => {
    const redis = await started()
    await redis.kill()
    await expect(openRedisStore(redis.address(), { now: () => START, warn: () => {} })).rejects.toThrow(/ECONNREFUSED/)
  })

  it('no operation says that something is missing, and after a loss of all data every one does', async () => {
    const redis = await started(['--appendonly', 'no', '--save', ''])
    const store = await opened(redis.address())
    await store.shares.put(shareRow(), applied(START), ROOM)
    await redis.kill()
    await expectUnavailable(store)
    await redis.restart()
    await answers(store)
    expect(await store.shares.get(KEY)).toBeUndefined()
  })
})

describe('while Redis does not answer', () => {
  it('operations fail within their time, then at once, and nothing is kept for later', async () => {
    const redis = await started()
    const store = await opened(redis.address())
    redis.pause()
    onTestFinished(() => void redis.resume())
    await expect.poll(() => store.bus.hearing(), { timeout: 1500 }).toBe(false)
    await expectUnavailable(store)
    await expectUnavailable(store, Array(200).fill(WRITES).flat(), 1000)
    redis.resume()
    await answers(store)
    await hears(store)
    const { hset = 0 } = await redis.commands()
    expect(hset).toBeLessThan(10)
    expect(await store.shares.put(shareRow({ shareId: 'after' }), applied(START), ROOM)).toBe('stored')
  })

  it('closing ends all the same', async () => {
    const redis = await started()
    const store = await opened(redis.address())
    redis.pause()
    onTestFinished(() => void redis.resume())
    const startedAt = performance.now()
    await store.close()
    expect(performance.now() - startedAt).toBeLessThan(PATIENCE_MS)
  })
})

describe('while Redis takes no writes', () => {
  it('because it became a replica: writes fail, nothing is believed, and both end when it is a master again', async () => {
    const [redis, other] = [await started(), await started()]
    const store = await opened(redis.address())
    await redis.admin.replicaof('127.0.0.1', other.port)
    await expect.poll(() => store.bus.hearing(), { timeout: 3000 }).toBe(false)
    await expectUnavailable(store, WRITES)
    await redis.admin.replicaof('NO', 'ONE')
    await answers(store)
    await hears(store)
    expect(await store.shares.put(shareRow(), applied(START), ROOM)).toBe('stored')
  })

  it('because its memory is full: nothing new is taken, nothing is forgotten, and a revocation gets through', async () => {
    const redis = await started()
    const store = await opened(redis.address())
    await store.shares.put(shareRow({ shareId: 'kept' }), applied(START), ROOM)
    await redis.admin.config('SET', 'maxmemory', '1')
    await expectUnavailable(store, WRITES)
    expect(await store.shares.get({ ...KEY, shareId: 'kept' })).toMatchObject({ state: 'live' })
    const revocation = { now: START, keepUntil: START + 60, limit: 1 }
    expect(await store.shares.revoke({ ...KEY, shareId: 'kept' }, applied(START + 1), revocation)).toBe('revoked')
    expect(store.bus.hearing()).toBe(true)
    await redis.admin.config('SET', 'maxmemory', '0')
    expect(await store.shares.put(shareRow(), applied(START + 2), ROOM)).toBe('stored')
  })
})

describe('with Sentinel', () => {
  it('the store follows the master when it fails over, and has all that was answered', {
    timeout: 60_000,
  }, async () => {
    const [first, second] = [await started(), await started()]
    await second.admin.replicaof('127.0.0.1', first.port)
    const sentinel = await startSentinel(first.port)
    onTestFinished(() => sentinel.stop())
    await expect.poll(() => second.admin.info('replication'), { timeout: 10_000 }).toContain('master_link_status:up')
    await expect.poll(() => second.admin.info('persistence')).toMatch(/aof_rewrite_in_progress:0/)
    const store = await opened(addressOf([sentinel.port], { master: 'main' }))
    const put = (shareId: string) => store.shares.put(shareRow({ shareId }), applied(START), ROOM)
    for (let index = 0; index < 50; index += 1) expect(await put(`share ${index}`)).toBe('stored')
    await first.kill()
    await expectUnavailable(store)
    // What could not be answered while the master changed may have been stored all the same.
    await expect.poll(() => put('after').catch(() => 'failed'), { timeout: 30_000 }).toMatch(/^(stored|unchanged)$/)
    await hears(store)
    expect(await store.shares.count(KEY.senderDomain)).toBe(51)
    expect((await second.admin.role())[0]).toBe('master')
  })

  it('a master that has lost its replicas is not asked what it knows: another one may be the master', async () => {
    const [first, second] = [await started(), await started()]
    await second.admin.replicaof('127.0.0.1', first.port)
    const sentinel = await startSentinel(first.port)
    onTestFinished(() => sentinel.stop())
    const store = await opened(addressOf([sentinel.port], { master: 'main' }))
    await store.shares.put(shareRow(), applied(START), ROOM)
    await first.admin.config('SET', 'min-replicas-to-write', '2')
    await expect(store.shares.get(KEY)).rejects.toMatchObject(UNAVAILABLE)
    await expect(store.sessions.get('hash-1')).rejects.toMatchObject(UNAVAILABLE)
    await first.admin.config('SET', 'min-replicas-to-write', '1')
    await expect.poll(() => store.shares.get(KEY).catch(() => 'failed'), { timeout: 5000 }).toStrictEqual(shareRow())
    expect(await store.sessions.get('hash-1')).toBeUndefined()
  })

  it('no gateway starts while no Sentinel answers', async () => {
    const address = addressOf([1, 2], { master: 'main' })
    await expect(openRedisStore(address, { now: () => START, warn: () => {} })).rejects.toThrow(
      /^The store redis\+sentinel:\/\/127\.0\.0\.1:1,127\.0\.0\.1:2\/main\/0 cannot be used: no Sentinel answers/,
    )
  })

  it('a master without a replica is waited for once, not each time', async () => {
    const [first, second] = [await started(), await started()]
    await second.admin.replicaof('127.0.0.1', first.port)
    const sentinel = await startSentinel(first.port)
    onTestFinished(() => sentinel.stop())
    const store = await opened(addressOf([sentinel.port], { master: 'main' }))
    await second.kill()
    const startedAt = performance.now()
    for (let index = 0; index < 20; index += 1) {
      expect(await store.shares.put(shareRow({ shareId: `${index}` }), applied(START), ROOM)).toBe('stored')
    }
    expect(performance.now() - startedAt).toBeLessThan(1500)
  })
})
