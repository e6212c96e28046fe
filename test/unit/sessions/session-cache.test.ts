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
  return { clock, cache, read: (change: Partial<Session> = {}) => cache.reading()(rowOf({ ...SESSION, ...change })) }
}

describe('a session that was read', () => {
  it('comes back from its row as it was', () => {
    expect(sessionOf(rowOf(SESSION))).toEqual(SESSION)
  })

  it('is known for as long as it is fresh', () => {
    const { clock, cache, read } = setUp()
    const session = read()
    expect([cache.get('a'), cache.get('b')]).toEqual([session, undefined])
    clock.advance(1)
    expect(cache.get('a')).toBeUndefined()
  })

  it('is never known when rows are not believed at all', () => {
    const { cache, read } = setUp(0)
    read()
    expect(cache.get('a')).toBeUndefined()
  })

  it('is not known past its deadline', () => {
    const { clock, cache, read } = setUp(60)
    read({ deadline: START + 5 })
    clock.advance(5)
    expect(cache.get('a')).toBeUndefined()
  })

  it('is forgotten at once', () => {
    const { cache, read } = setUp()
    read()
    cache.forget('a')
    expect(cache.get('a')).toBeUndefined()
  })

  it('is not kept when it changed while it was read', () => {
    const { cache } = setUp()
    const take = cache.reading()
    cache.forget('a')
    expect(take(rowOf(SESSION))).toEqual(SESSION)
    expect(cache.get('a')).toBeUndefined()
  })

  it.each([1, 0])(
    'has the same grant object while its row says the same, but always its newest deadline (%i s)',
    (freshSeconds) => {
      const { read } = setUp(freshSeconds)
      const [first, touched, narrowed] = [
        read(),
        read({ deadline: START + 900 }),
        read({ grant: grantOf({ permissions: ['view'] }) }),
      ]
      expect(touched.grant).toBe(first.grant)
      expect(touched.deadline).toBe(START + 900)
      expect(narrowed.grant.permissions).toEqual(['view'])
    },
  )
})
