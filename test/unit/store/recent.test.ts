import { expect, it } from 'vitest'
import { createRecent } from '../../../src/store/recent.ts'
import { createClock } from '../fixtures.ts'

it('keeps so many, and of more those that were read last; what is not there takes no place', async () => {
  const options = { max: 2, freshSeconds: 60, now: createClock().now, hearing: () => true }
  const recent = createRecent<string>(options)
  const read = (key: string) => recent.read(key, async () => key)
  await read('a')
  await read('b')
  await read('b')
  expect(recent.get('a')).toBe('a')
  await read('a')
  await recent.read('nothing', async () => undefined)
  expect(['a', 'b'].map(recent.get)).toEqual(['a', 'b'])
  await read('c')
  expect(['a', 'b', 'c'].map(recent.get)).toEqual(['a', undefined, 'c'])
})
