import { expect, it } from 'vitest'
import { createLiveConnections } from '../../../src/sessions/live-connections.ts'

it('cutting a session closes all its connections once, and no other’s', () => {
  const live = createLiveConnections()
  const closed: string[] = []
  live.add('a', () => closed.push('a1'))
  live.add('a', () => closed.push('a2'))
  live.add('b', () => closed.push('b1'))
  expect(live.cut('a')).toBe(2)
  expect(live.cut('a')).toBe(0)
  expect(live.cut('unknown')).toBe(0)
  expect(closed).toEqual(['a1', 'a2'])
  expect(live.sessions()).toEqual(['b'])
})

it('a connection that ended by itself is forgotten', () => {
  const live = createLiveConnections()
  const closed: string[] = []
  const done = live.add('a', () => closed.push('a1'))
  live.add('a', () => closed.push('a2'))
  done()
  done()
  expect(live.sessions()).toEqual(['a'])
  expect(live.cut('a')).toBe(1)
  expect(closed).toEqual(['a2'])
  expect(live.sessions()).toEqual([])
})

it('one that reports its end while it is cut does not disturb the next session of that name', () => {
  const live = createLiveConnections()
  const done = live.add('a', () => done())
  live.cut('a')
  const closed: string[] = []
  live.add('a', () => closed.push('later'))
  done()
  expect(live.cut('a')).toBe(1)
  expect(closed).toEqual(['later'])
})
