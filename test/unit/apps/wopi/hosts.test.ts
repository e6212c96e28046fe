import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openRedisStore } from '../../../../src/store/redis.ts'
import { type RedisServer, startRedis } from '../../../contract/redis-server.ts'
import { CONTENT, type OpenStores, startHosts } from './rig.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis?.stop())

/** Each gateway has connections of its own, as two processes have. */
const inRedis: OpenStores = async (now) => {
  await redis.admin.flushall()
  const open = () => openRedisStore(redis.address(), { now, warn: () => {} })
  const [one, two] = [await open(), await open()]
  onTestFinished(async () => {
    await one.close()
    await two.close()
  })
  return [one, two]
}

const HALF_AN_HOUR = 1800
const timestamp = (time: string) => ({ headers: { 'X-COOL-WOPI-Timestamp': time, 'X-COOL-WOPI-IsAutosave': 'true' } })
const exitSave = { headers: { 'X-COOL-WOPI-IsExitSave': 'true', 'X-COOL-WOPI-IsAutosave': 'true' } }

describe.each([
  ['in memory', undefined],
  ['in Redis', inRedis],
])('two gateways, one store %s: the lock table', (_where, openStores) => {
  const start = () => startHosts(undefined, {}, openStores)

  const states = ['unlocked', 'A', 'X'] as const
  const cells: [(typeof states)[number], string, number, string | null, string][] = [
    // state, operation, status, X-WOPI-Lock of the answer, lock afterwards
    ['unlocked', 'LOCK A', 200, null, 'A'],
    ['unlocked', 'RELOCK A B', 409, '', ''],
    ['unlocked', 'REFRESH_LOCK A', 409, '', ''],
    ['unlocked', 'UNLOCK A', 409, '', ''],
    ['unlocked', 'PUT', 409, '', ''],
    ['A', 'LOCK A', 200, null, 'A'],
    ['A', 'RELOCK A B', 200, null, 'B'],
    ['A', 'REFRESH_LOCK A', 200, null, 'A'],
    ['A', 'UNLOCK A', 200, null, ''],
    ['A', 'PUT A', 200, null, 'A'],
    ['A', 'PUT', 409, 'A', 'A'],
    ['X', 'LOCK A', 409, 'X', 'X'],
    ['X', 'RELOCK A B', 409, 'X', 'X'],
    ['X', 'REFRESH_LOCK A', 409, 'X', 'X'],
    ['X', 'UNLOCK A', 409, 'X', 'X'],
    ['X', 'PUT A', 409, 'X', 'X'],
    ['X', 'PUT', 409, 'X', 'X'],
  ]

  it.each(cells)('%s, then %s at the other one: %i', async (state, written, status, lock, after) => {
    const hosts = await start()
    await hosts.read(1)
    if (state !== 'unlocked') expect((await hosts.lock(0, state)).status).toBe(200)
    const [operation = '', first = '', second = ''] = written.split(' ')
    const run = {
      LOCK: () => hosts.lock(1, first),
      RELOCK: () => hosts.lock(1, second, { 'X-WOPI-OldLock': first }),
      PUT: () =>
        hosts.call(1, { override: 'PUT', contents: true, body: 'x', headers: first ? { 'X-WOPI-Lock': first } : {} }),
    }[operation]
    const answer = await (run?.() ?? hosts.operate(1, operation, first))
    expect([answer.status, answer.lock]).toEqual([status, lock])
    expect((await hosts.call(0, { override: 'GET_LOCK' })).lock).toBe(after)
  })

  it('of two that lock at once one gets it, and the other is told whose it is', async () => {
    const hosts = await start()
    for (let round = 0; round < 10; round += 1) {
      const answers = await Promise.all([hosts.lock(0, 'A'), hosts.lock(1, 'B')])
      const winner = answers[0].status === 200 ? 'A' : 'B'
      expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409])
      expect(answers.find(({ status }) => status === 409)?.lock).toBe(winner)
      expect((await hosts.operate(0, 'UNLOCK', winner)).status).toBe(200)
    }
  })

  it('a lock ends by itself after half an hour, and a refresh prolongs it', async () => {
    const hosts = await start()
    await hosts.lock(0, 'A')
    hosts.clock.advance(HALF_AN_HOUR - 10)
    expect((await hosts.operate(1, 'REFRESH_LOCK', 'A')).status).toBe(200)
    hosts.clock.advance(HALF_AN_HOUR - 10)
    expect((await hosts.lock(1, 'B')).status).toBe(409)
    hosts.clock.advance(11)
    expect((await hosts.lock(1, 'B')).status).toBe(200)
  })

  it.each([
    ['', 400],
    ['x'.repeat(1024), 200],
    ['x'.repeat(1025), 400],
  ])('a lock has up to 1024 characters: %#', async (lock, status) => {
    const hosts = await start()
    expect((await hosts.lock(0, lock)).status).toBe(status)
  })
})

it('the end of a session cuts a call from before it is known that the session lives', async () => {
  const hosts = await startHosts()
  const { sessions } = hosts.store
  const bound: string[][] = []
  const get = sessions.get
  sessions.get = (idHash) => {
    bound.push([...hosts.bound])
    return get(idHash)
  }
  await hosts.read(0)
  expect(bound).toEqual([[hosts.session.idHash]])
})

it('the last save of a session that has just expired is not cut, though its session is over', async () => {
  const hosts = await startHosts()
  await hosts.read(0)
  await hosts.lock(0, 'A')
  const { instance = '', share, senderDomain, shareId } = hosts.session.grant
  const row = { state: 'live', senderDomain, shareId, instance, created: 0, data: JSON.stringify(share) } as const
  hosts.store.shares.get = async () => ({ ...row, expiresAt: undefined })
  hosts.clock.advance(hosts.session.deadline - hosts.clock.now() + 1)
  hosts.bound.clear()
  await hosts.save(0, 'last words', 'A', exitSave)
  expect(await hosts.app.describe?.(hosts.session)).toMatchObject({ kept: [{ size: 10 }] })
  expect([...hosts.bound]).toEqual([])
})

describe('two gateways, one store: saves', () => {
  it.each([
    ['in memory', undefined],
    ['in Redis', inRedis],
  ])(
    'of one editing session at the same time are all written, each with a version of its own: %s',
    async (_where, openStores) => {
      const hosts = await startHosts(undefined, {}, openStores)
      const before = await hosts.read(0)
      await hosts.lock(0, 'A')
      const saved = await Promise.all(
        [0, 1, 0, 1].map((gateway) => hosts.save(gateway as 0 | 1, 'the same bytes', 'A')),
      )
      expect(saved.map(({ status }) => status)).toEqual([200, 200, 200, 200])
      const versions = [before.version, ...saved.map(({ version }) => version)]
      expect(new Set(versions).size).toBe(5)
      expect(hosts.content()).toBe('the same bytes')
      expect((await hosts.read(1)).version).toBe(
        saved
          .map(({ version }) => version)
          .toSorted()
          .at(-1),
      )
    },
  )

  it('whose answer gets lost are no foreign change: the editor sends the same again', async () => {
    let lose = true
    const hosts = await startHosts((req, res, next) => {
      if (req.method === 'PUT' && lose) {
        lose = false
        res.end = () => res.destroy()
      }
      next()
    })
    await hosts.read(0)
    await hosts.lock(0, 'A')
    expect((await hosts.save(0, 'typed once', 'A')).status).toBe(500)
    expect(hosts.content()).toBe('typed once')
    expect((await hosts.save(1, 'typed once', 'A')).status).toBe(200)
  })

  it('that lose a race against the sender are tried again, and then kept', async () => {
    let change: (() => void) | undefined
    const hosts = await startHosts((req, _res, next) => {
      if (req.method === 'PUT') {
        change?.()
        change = undefined
      }
      next()
    })
    await hosts.read(0)
    await hosts.lock(0, 'A')
    change = () => hosts.change('by alice, this very moment')
    expect((await hosts.save(0, 'by bob', 'A')).status).toBe(500)
    const again = await hosts.save(0, 'by bob', 'A')
    expect([again.status, JSON.parse(again.text).COOLStatusCode]).toEqual([409, 1010])
    expect(hosts.content()).toBe('by alice, this very moment')
    expect(await hosts.app.describe?.(hosts.session)).toMatchObject({ kept: [{ size: 6 }] })
  })

  it('that are the last of an editor are kept when they lose that race', async () => {
    let change: (() => void) | undefined
    const hosts = await startHosts((req, _res, next) => {
      if (req.method === 'PUT') {
        change?.()
        change = undefined
      }
      next()
    })
    await hosts.read(0)
    const { LastModifiedTime } = JSON.parse((await hosts.call(0, {})).text)
    await hosts.lock(0, 'A')
    change = () => hosts.change('by alice')
    const headers = { ...exitSave.headers, ...timestamp(LastModifiedTime).headers }
    expect((await hosts.save(0, 'last words', 'A', { headers })).status).toBe(409)
    expect(await hosts.app.describe?.(hosts.session)).toMatchObject({ kept: [{ size: 10 }] })
  })

  it('that are the last of an editor are kept when the sender is down', async () => {
    let down = false
    const hosts = await startHosts((_req, res, next) => (down ? res.destroy() : next()))
    await hosts.read(0)
    await hosts.lock(0, 'A')
    down = true
    expect((await hosts.save(0, 'last words', 'A', exitSave)).status).toBe(500)
    expect(hosts.content()).toBe(CONTENT)
    expect(await hosts.app.describe?.(hosts.session)).toMatchObject({ kept: [{ size: 10 }] })
  })

  it('whose bytes were read when the token ended are sent again, and no half of them is kept', async () => {
    let ended: 'no' | 'at the write' | 'for good' = 'no'
    const hosts = await startHosts((req, res, next) => {
      if (ended === 'for good' || (ended === 'at the write' && req.method === 'PUT')) res.status(401).end()
      else next()
    })
    await hosts.read(0)
    await hosts.lock(0, 'A')
    ended = 'at the write'
    expect((await hosts.save(0, 'typed', 'A')).status).toBe(401)
    expect(await hosts.app.describe?.(hosts.session)).toMatchObject({ kept: [] })
    ended = 'for good'
    expect((await hosts.save(0, 'typed', 'A')).status).toBe(401)
    expect(await hosts.app.describe?.(hosts.session)).toMatchObject({ kept: [{ size: 5 }] })
  })

  it('are judged by what their own token has read, not by what another one has', async () => {
    const hosts = await startHosts()
    const other = await hosts.newToken()
    await hosts.read(0)
    await hosts.lock(0, 'A')
    hosts.change('by alice')
    await hosts.read(1, other)
    expect((await hosts.save(0, 'by bob', 'A')).status).toBe(409)
    expect((await hosts.save(1, 'by bob, who has seen it', 'A', { as: other })).status).toBe(200)
  })

  it('meet the sender’s refusals in words that editors know', async () => {
    let answer = 0
    const hosts = await startHosts((req, res, next) =>
      req.method === 'PUT' && answer !== 0 ? void res.status(answer).end() : next(),
    )
    await hosts.read(0)
    await hosts.lock(0, 'A')
    const told: Record<number, number> = {}
    for (const status of [401, 403, 404, 413, 423, 500, 503, 507]) {
      answer = status
      told[status] = (await hosts.save(0, 'x', 'A')).status
    }
    expect(told).toEqual({ 401: 401, 403: 401, 404: 404, 413: 413, 423: 423, 500: 500, 503: 500, 507: 413 })
    answer = 0
    expect((await hosts.save(0, 'at last', 'A')).status).toBe(200)
  })
})

describe('a sender that has locks of its own', () => {
  function locking(state: { holder: string; asked: string[] }): Parameters<typeof startHosts>[0] {
    return (req, res, next) => {
      if (req.method === 'LOCK') {
        state.asked.push('LOCK')
        if (state.holder !== '') return void res.status(423).end()
        state.holder = 'urn:uuid:1'
        return void res.status(200).set('lock-token', `<${state.holder}>`).end()
      }
      if (req.method === 'UNLOCK') {
        state.asked.push('UNLOCK')
        state.holder = ''
        return void res.status(204).end()
      }
      if (req.method === 'PUT' && state.holder !== '' && req.headers.if !== `(<${state.holder}>)`)
        return void res.status(423).end()
      next()
    }
  }

  it('is locked with ours, written under its lock, and unlocked', async () => {
    const state = { holder: '', asked: [] as string[] }
    const hosts = await startHosts(locking(state))
    await hosts.read(0)
    expect((await hosts.lock(0, 'A')).status).toBe(200)
    expect(state.holder).not.toBe('')
    expect((await hosts.save(1, 'under its lock', 'A')).status).toBe(200)
    expect((await hosts.operate(1, 'UNLOCK', 'A')).status).toBe(200)
    expect(state).toEqual({ holder: '', asked: ['LOCK', 'UNLOCK'] })
  })

  it('and has lost the lock, is written without it: an editor tries again, and its last save is tried twice', async () => {
    const state = { holder: '', asked: [] as string[] }
    const hosts = await startHosts((req, res, next) => {
      // RFC 4918 §10.4: the condition names a lock that is none.
      if (req.method === 'PUT' && req.headers.if && state.holder === '') res.status(412).end()
      else locking(state)?.(req, res, next)
    })
    await hosts.read(0)
    await hosts.lock(0, 'A')
    state.holder = ''
    expect((await hosts.save(0, 'typed', 'A')).status).toBe(423)
    expect((await hosts.save(1, 'typed', 'A')).status).toBe(200)
    await hosts.operate(0, 'UNLOCK', 'A')
    await hosts.lock(0, 'A')
    state.holder = ''
    expect((await hosts.save(0, 'last words', 'A', exitSave)).status).toBe(200)
    expect(hosts.content()).toBe('last words')
  })

  it('and has it locked already, makes the editor read-only, and leaves no lock of ours', async () => {
    const hosts = await startHosts(locking({ holder: 'urn:uuid:alice', asked: [] }))
    const refused = await hosts.lock(0, 'A')
    expect([refused.status, refused.lock, refused.reason]).toEqual([409, '', 'The file is locked at the sender.'])
    expect((await hosts.call(1, { override: 'GET_LOCK' })).lock).toBe('')
  })
})

describe('a file', () => {
  it('whose reading was cut off counts as not read: what was there before is not written over what came since', async () => {
    let cut = false
    const hosts = await startHosts((req, res, next) => {
      if (req.method !== 'GET' || !cut) return next()
      res.writeHead(200, { 'content-length': 1000 })
      res.write('half of it', () => res.destroy())
    })
    await hosts.read(0)
    await hosts.lock(0, 'A')
    hosts.change('by alice')
    cut = true
    await expect(hosts.read(0)).rejects.toThrow()
    expect((await hosts.save(0, 'by bob, who has not seen it', 'A')).status).toBe(409)
    expect(hosts.content()).toBe('by alice')
  })

  it('has one version until it is saved, whoever asks, and whatever is asked first', async () => {
    const hosts = await startHosts()
    const version = (await hosts.call(0, { contents: true })).version
    hosts.clock.advance(10)
    expect(JSON.parse((await hosts.call(1, {})).text).Version).toBe(version)
    expect((await hosts.lock(1, 'A')).version).toBe(version)
  })

  it('that is larger than the editor expects is not sent', async () => {
    const hosts = await startHosts()
    const asked = (max: number) => hosts.call(0, { contents: true, headers: { 'X-WOPI-MaxExpectedSize': String(max) } })
    expect([(await asked(CONTENT.length)).status, (await asked(CONTENT.length - 1)).status]).toEqual([200, 412])
  })

  it('that is larger than what is allowed is not taken, whether its length is told or not', async () => {
    const hosts = await startHosts(undefined, { maxFileSize: '1KiB' })
    await hosts.read(0)
    await hosts.lock(0, 'A')
    expect((await hosts.save(0, 'x'.repeat(1024), 'A')).status).toBe(200)
    expect((await hosts.save(0, 'x'.repeat(1025), 'A')).status).toBe(413)
    const stream = new Blob(['x'.repeat(1000), 'x'.repeat(1000)]).stream()
    const options = { override: 'PUT', contents: true, headers: { 'X-WOPI-Lock': 'A' } }
    expect((await hosts.call(0, { ...options, body: stream })).status).toBe(413)
    expect(hosts.content()).toBe('x'.repeat(1024))
  })

  it('is neither renamed nor deleted nor saved under another name, and an operation must be named', async () => {
    const hosts = await startHosts()
    for (const override of ['PUT_RELATIVE', 'RENAME_FILE', 'DELETE', 'PUT_USER_INFO', 'COBALT', 'constructor'])
      expect((await hosts.call(0, { override })).status, override).toBe(501)
    const nameless = await hosts.call(0, { override: '' })
    expect(nameless.status).toBe(501)
  })
})
