import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createMemoryStore } from '../../src/store/memory.ts'
import { openRedisStore } from '../../src/store/redis.ts'
import type { Store } from '../../src/store/store.ts'
import { openPassage, type RedisServer, startRedis } from './redis-server.ts'
import { applied, expectSameAnswers, START, shareRow, storeContract } from './store.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

const warnings: string[] = []
const QUIET = { now: () => START, warn: () => {} }

async function open(now = () => START): Promise<Store> {
  return openRedisStore(redis.address(), { now, warn: (message) => warnings.push(message) })
}

async function opened(now?: () => number): Promise<Store> {
  const store = await open(now)
  onTestFinished(() => store.close())
  return store
}

storeContract('redis', async () => {
  await redis.admin.flushall()
  let time = START
  const now = () => time
  return {
    store: await open(now),
    now,
    async advance(seconds) {
      time += seconds
    },
  }
})

const KEY = { senderDomain: 'cloud.example.org', shareId: '42' }
const SESSION = {
  ...KEY,
  state: 'live',
  idHash: 'hash-1',
  webapp: 'notebooks',
  deadline: START + 60,
  data: '{}',
} as const
const ENDED = {
  state: 'ended',
  idHash: 'hash-1',
  webapp: 'notebooks',
  reason: 'revoked',
  endedAt: START,
  data: '{}',
} as const
const ROOM = { limit: 100 }

/** The newest of a store’s messages about sessions. */
function heardBy({ bus }: Store) {
  const heard: string[] = []
  bus.subscribe(({ type }) => heard.push(type))
  return heard
}

async function hearing(...stores: Store[]) {
  await expect.poll(() => stores.every(({ bus }) => bus.hearing())).toBe(true)
}

describe('a store in Redis', () => {
  it('answers as the memory store does, whatever the order of requests', async () => {
    await expectSameAnswers([await opened(), createMemoryStore({ now: () => START })], 50)
  })

  it('is one for all processes: the last places are filled once, and a session ends once', async () => {
    const stores = await Promise.all([opened(), opened(), opened()])
    const domain = { senderDomain: 'many.example' }
    const answers = await Promise.all(
      stores.flatMap(({ shares }, store) =>
        [1, 2, 3, 4].map((n) =>
          shares.put(shareRow({ ...domain, shareId: `${store} ${n}` }), applied(START), { limit: 5 }),
        ),
      ),
    )
    expect(answers.filter((answer) => answer === 'stored')).toHaveLength(5)
    expect(await stores[0]?.shares.count(domain.senderDomain)).toBe(5)
    await stores[0]?.sessions.open(SESSION, ROOM)
    const ends = await Promise.all(stores.map(({ sessions }) => sessions.end(ENDED, { keepUntil: START + 60 })))
    expect(ends.filter((row) => row !== undefined)).toEqual([SESSION])
  })

  it('gives a time to live to all that has an end, and leaves nothing of it in any index', async () => {
    await redis.admin.flushall()
    let time = START
    const { shares, sessions, notes } = await opened(() => time)
    await shares.put(shareRow({ expiresAt: START + 60 }), applied(START), ROOM)
    await shares.revoke({ ...KEY, shareId: 'other' }, applied(START), { now: START, keepUntil: START + 60, limit: 9 })
    await sessions.open(SESSION, ROOM)
    await sessions.open({ ...SESSION, idHash: 'hash-2' }, ROOM)
    await sessions.end({ ...ENDED, idHash: 'hash-2' }, { keepUntil: START + 60 })
    await notes.put({ space: 'locks', id: 'a', data: '', expiresAt: START + 60 })
    const keys = (await redis.admin.keys('ocm:*')).toSorted()
    const lasting = await Promise.all(keys.map(async (key) => ((await redis.admin.pttl(key)) < 0 ? [key] : [])))
    expect(lasting.flat()).toEqual([
      'ocm:messages',
      'ocm:notes expiring in locks',
      'ocm:notes in locks',
      'ocm:shares live cloud.example.org',
      'ocm:shares revoked cloud.example.org',
      'ocm:spaces',
    ])
    time += 30 * 86_400
    for (const key of keys) if (/^ocm:(share|session|note) /.test(key)) await redis.admin.del(key)
    await shares.put(shareRow({ shareId: 'new' }), applied(time), ROOM)
    await shares.revoke({ ...KEY, shareId: 'newer' }, applied(time), { now: time, keepUntil: time + 60, limit: 9 })
    await sessions.open({ ...SESSION, idHash: 'hash-3', deadline: time + 60 }, ROOM)
    await notes.put({ space: 'locks', id: 'b', data: '', expiresAt: undefined })
    const members = (key: string) => redis.admin.zrange(key, '0', '-1')
    expect(await members('ocm:shares live cloud.example.org')).toEqual(['new'])
    expect(await members('ocm:shares revoked cloud.example.org')).toEqual(['newer'])
    expect(await members('ocm:sessions due')).toEqual(['hash-3'])
    expect(await members('ocm:sessions of cloud.example.org')).toEqual(['hash-3'])
    expect(await members('ocm:notes in locks')).toEqual(['b'])
    expect(await members('ocm:notes expiring in locks')).toEqual([])
  })

  it('keeps databases of one server apart, their buses too', async () => {
    const [here, there] = [await opened(), await openRedisStore(redis.address(1), QUIET)]
    onTestFinished(() => there.close())
    await hearing(here, there)
    const heard = heardBy(there)
    await redis.admin.flushall()
    await here.sessions.open(SESSION, ROOM)
    expect(await there.sessions.get('hash-1')).toBeUndefined()
    await here.sessions.end(ENDED, { keepUntil: START + 60 })
    await hearing(here, there)
    expect(heard).not.toContain('session.ended')
  })
})

describe('the bus in Redis', () => {
  it('has told every process when an operation resolves', async () => {
    const [here, there] = [await opened(), await opened()]
    await hearing(here, there)
    for (let round = 0; round < 20; round += 1) {
      const heard = heardBy(there)
      const idHash = `hash-${round}`
      await here.sessions.open({ ...SESSION, idHash }, ROOM)
      await here.sessions.update({ ...SESSION, idHash, data: 'changed' }, '{}')
      expect(heard).toEqual(['session.changed'])
      await here.sessions.end({ ...ENDED, idHash }, { keepUntil: START + 60 })
      expect(heard).toEqual(['session.changed', 'session.ended'])
      heard.length = 0
      await here.workloads.put({ ...KEY, webapp: 'notebooks', name: 'server-1', data: '{}' })
      expect(heard).toEqual(['workload.changed'])
      await here.workloads.delete('notebooks', 'server-1')
      expect(heard).toEqual(['workload.changed', 'workload.changed'])
    }
  })

  it('waits for a process that is cut off until that one believes nothing any more, and no longer', async () => {
    const passage = await openPassage(redis.port)
    const here = await opened()
    const there = await openRedisStore(
      { ...redis.address(), hosts: [{ host: '127.0.0.1', port: passage.port }] },
      QUIET,
    )
    onTestFinished(async () => {
      await there.close()
      await passage.close()
    })
    await hearing(here, there)
    for (const idHash of ['hash-1', 'hash-2']) await here.sessions.open({ ...SESSION, idHash }, ROOM)
    const heard = heardBy(there)
    passage.block()
    const believed: number[] = []
    const watch = setInterval(() => there.bus.hearing() && believed.push(performance.now()), 5)
    const startedAt = performance.now()
    await here.sessions.end({ ...ENDED, idHash: 'hash-1' }, { keepUntil: START + 60 })
    const resolvedAt = performance.now()
    await here.sessions.end({ ...ENDED, idHash: 'hash-2' }, { keepUntil: START + 60 })
    const again = performance.now() - resolvedAt
    clearInterval(watch)
    expect(heard).toEqual([])
    expect(Math.max(...believed)).toBeGreaterThan(startedAt)
    expect(Math.max(...believed)).toBeLessThan(resolvedAt)
    expect(again).toBeLessThan(500)
    passage.unblock()
    await expect.poll(() => heard.length, { timeout: 5000 }).toBeGreaterThan(0)
    await hearing(here, there)
  })

  it('is settled only when every process has heard what another one told, or believes nothing any more', async () => {
    const passage = await openPassage(redis.port)
    onTestFinished(() => passage.close())
    const [here, beside] = [await opened(), await opened()]
    const there = await openRedisStore(
      { ...redis.address(), hosts: [{ host: '127.0.0.1', port: passage.port }] },
      QUIET,
    )
    onTestFinished(() => there.close())
    await hearing(here, beside, there)
    await here.sessions.open(SESSION, ROOM)
    passage.block()
    let told = false
    const telling = here.sessions.end(ENDED, { keepUntil: START + 60 }).then(() => (told = true))
    await expect.poll(async () => (await beside.sessions.get('hash-1'))?.state).toBe('ended')
    expect(told).toBe(false)
    await beside.bus.settled()
    expect(there.bus.hearing()).toBe(false)
    await telling
    passage.unblock()
    await hearing(there)
    const startedAt = performance.now()
    await beside.bus.settled()
    expect(performance.now() - startedAt).toBeLessThan(500)
  })

  it('says that messages may have been missed when their numbers have a gap', async () => {
    const store = await opened()
    await hearing(store)
    const heard = heardBy(store)
    await redis.admin.incrby('ocm:messages', 5)
    await expect.poll(() => heard).toEqual(['missed'])
    await hearing(store)
  })

  it('survives what somebody else publishes on its channel, and believes nothing until it has heard itself again', async () => {
    const store = await opened()
    await hearing(store)
    const heard = heardBy(store)
    const junk = ['', 'hi', '1 x {broken', '7 someone {"id":', '1 x null', '9 y [1]']
    for (const message of junk) await redis.admin.publish(`ocm:${redis.address().db} bus`, message)
    await expect.poll(() => heard).toContain('missed')
    await hearing(store)
  })

  it('does not hear while its beats cannot be written, and hears again after', async () => {
    const store = await opened()
    await hearing(store)
    await redis.admin.config('SET', 'min-replicas-to-write', 1)
    onTestFinished(async () => void (await redis.admin.config('SET', 'min-replicas-to-write', 0)))
    await expect.poll(() => store.bus.hearing(), { timeout: 3000 }).toBe(false)
    await redis.admin.config('SET', 'min-replicas-to-write', 0)
    await hearing(store)
  })
})

describe('a lock in Redis', () => {
  it('is held by one process at a time', async () => {
    const stores = await Promise.all([opened(), opened(), opened()])
    let [running, most, done] = [0, 0, 0]
    const work = async () => {
      running += 1
      most = Math.max(most, running)
      await new Promise(setImmediate)
      running -= 1
      done += 1
    }
    await Promise.all(stores.flatMap((store) => [1, 2, 3, 4, 5].map(() => store.lock('one', 10, work))))
    expect([most, done]).toEqual([1, 15])
  })

  it('outlives its time while the work runs, because it is renewed', async () => {
    const [here, there] = [await opened(), await opened()]
    const order: string[] = []
    let finish = () => {}
    const first = here.lock('long', 0.3, async () => {
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      order.push('first')
    })
    await expect.poll(() => redis.admin.exists('ocm:lock long')).toBe(1)
    const second = there.lock('long', 0.3, async () => void order.push('second'))
    let renewals = 0
    await expect
      .poll(
        async () => {
          renewals += (await redis.admin.pttl('ocm:lock long')) > 0 ? 1 : 0
          return renewals
        },
        { interval: 50, timeout: 5000 },
      )
      .toBeGreaterThan(12)
    finish()
    await Promise.all([first, second])
    expect(order).toEqual(['first', 'second'])
  })

  it('of a holder that died is free after its time', async () => {
    const store = await opened()
    await redis.admin.set('ocm:lock dead', 'a process that is no more', 'PX', 200)
    expect(await store.lock('dead', 10, async () => 'mine')).toBe('mine')
    expect(await redis.admin.exists('ocm:lock dead')).toBe(0)
  })

  it('that is someone else’s by now is not freed', async () => {
    const store = await opened()
    await store.lock('lost', 10, async () => void (await redis.admin.set('ocm:lock lost', 'another')))
    expect(await redis.admin.get('ocm:lock lost')).toBe('another')
    await redis.admin.del('ocm:lock lost')
  })
})

describe('a server that is to be a store', () => {
  const warned = async (change: Record<string, string>) => {
    warnings.length = 0
    for (const [name, value] of Object.entries(change)) await redis.admin.config('SET', name, value)
    await opened()
    for (const name of Object.keys(change)) await redis.admin.config('SET', name, USUAL[name] ?? '')
    return warnings.join('\n')
  }
  const USUAL: Record<string, string> = { 'maxmemory-policy': 'noeviction', appendonly: 'yes', save: '3600 1' }

  it('is warned about when it evicts, or does not write to disk', async () => {
    expect(await warned({})).toBe('')
    expect(await warned({ 'maxmemory-policy': 'allkeys-lru' })).toMatch(
      /^maxmemory-policy is allkeys-lru: .*noeviction/,
    )
    expect(await warned({ appendonly: 'no' })).toMatch(/^AOF is off: .*appendonly yes/)
    expect(await warned({ appendonly: 'no', save: '' })).toMatch(/^neither AOF nor RDB is on: .*appendonly yes/)
  })

  it('is refused when nothing listens, or the password is wrong, in words that name it and no secret', async () => {
    const wrong = { ...redis.address(), password: undefined }
    await expect(openRedisStore(wrong, QUIET)).rejects.toMatchObject({
      status: 503,
      reason: 'store_unavailable',
      message: expect.stringMatching(/^The store redis:\/\/127\.0\.0\.1:\d+\/0 cannot be used: NOAUTH/),
    })
    const nobody = { ...redis.address(), hosts: [{ host: '127.0.0.1', port: 1 }] }
    await expect(openRedisStore(nobody, QUIET)).rejects.toThrow(
      'The store redis://127.0.0.1:1/0 cannot be used: connect ECONNREFUSED 127.0.0.1:1',
    )
  })
})
