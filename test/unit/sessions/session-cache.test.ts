import { describe, expect, it } from 'vitest'
import type { Session } from '../../../src/sessions/session.ts'
import { createSessionCache, rowOf, sessionOf } from '../../../src/sessions/session-cache.ts'
import { createClock, grantOf, START } from '../fixtures.ts'

const SESSION: Session = {
  idHash: 'a',
  webapp: 'notes',
  scope: '/notes/',
  grant: grantOf({}),
  openedAt: START,
  expiresAt: START + 3600,
  deadline: START + 600,
  returnUri: 'https://cloud.example.org/',
  framed: true,
  frameAncestors: ['https://cloud.example.org'],
  suffix: '',
}

function setUp(freshSeconds = 1) {
  const clock = createClock()
  const cache = createSessionCache(freshSeconds, clock.now)
  const read = async (change: Partial<Session> = {}) => {
    const session = await cache.read('a', async () => rowOf({ ...SESSION, ...change }))
    if (session === undefined || 'state' in session) throw new Error('it lives')
    return session
  }
  return { clock, cache, read }
}

describe('a session that was read', () => {
  it('comes back from its row as it was', () => {
    expect(sessionOf(rowOf(SESSION))).toEqual(SESSION)
  })

  it('is known for as long as it is fresh', async () => {
    const { clock, cache, read } = setUp()
    const session = await read()
    expect([cache.get('a'), cache.get('b')]).toEqual([session, undefined])
    clock.advance(1)
    expect(cache.get('a')).toBeUndefined()
  })

  it('is never known when rows are not believed at all', async () => {
    const { cache, read } = setUp(0)
    await read()
    expect(cache.get('a')).toBeUndefined()
  })

  it('is not known past its deadline', async () => {
    const { clock, cache, read } = setUp(60)
    await read({ deadline: START + 5 })
    clock.advance(5)
    expect(cache.get('a')).toBeUndefined()
  })

  it('is forgotten at once', async () => {
    const { cache, read } = setUp()
    await read()
    cache.forget('a')
    expect(cache.get('a')).toBeUndefined()
  })

  it.each(['forget', 'forgetAll'] as const)('is read again when it changed while it was read (%s)', async (forget) => {
    const { cache } = setUp()
    const ended = {
      state: 'ended',
      idHash: 'a',
      webapp: 'notes',
      reason: 'revoked',
      endedAt: START,
      data: '{}',
    } as const
    const rows = [rowOf(SESSION), ended]
    const read = await cache.read('a', async () => {
      if (rows.length === 2) cache[forget]('a')
      return rows.shift()
    })
    expect(read).toEqual(ended)
    expect(cache.get('a')).toBeUndefined()
  })

  it('is read again when the read began before this process could hear of changes, and ended after', async () => {
    let hears = false
    const cache = createSessionCache(60, createClock().now, () => hears)
    let reads = 0
    const get = async () => {
      reads += 1
      hears = true
      return rowOf(SESSION)
    }
    await cache.read('a', get)
    expect([reads, cache.get('a')]).toEqual([2, SESSION])
  })

  it('is read once when another one changed meanwhile', async () => {
    const { cache } = setUp()
    let reads = 0
    const get = async () => {
      reads += 1
      cache.forget('b')
      return rowOf(SESSION)
    }
    expect(await cache.read('a', get)).toEqual(SESSION)
    expect(reads).toBe(1)
  })

  it.each([1, 0])(
    'has the same grant object while its row says the same, but always its newest deadline (%i s)',
    async (freshSeconds) => {
      const { read } = setUp(freshSeconds)
      const [first, touched, narrowed] = [
        await read(),
        await read({ deadline: START + 900 }),
        await read({ grant: grantOf({ permissions: ['view'] }) }),
      ]
      expect(touched.grant).toBe(first.grant)
      expect(touched.deadline).toBe(START + 900)
      expect(narrowed.grant.permissions).toEqual(['view'])
    },
  )
})
