import { describe, expect, it } from 'vitest'
import { parseDuration, systemClock } from '../../../src/core/time.ts'

describe('a duration', () => {
  it.each([
    ['250ms', 0.25],
    ['300s', 300],
    ['10m', 600],
    ['8h', 28_800],
    ['30d', 2_592_000],
    ['0s', 0],
  ])('%s is %d seconds', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds)
  })

  it.each(['', '10', 's', '1.5h', '-1s', ' 1s', '1 s', '1S', '1w', '1s1s', '1234567890s'])('%j is none', (text) => {
    expect(parseDuration(text)).toBeUndefined()
  })
})

it('the clock tells epoch seconds', () => {
  expect(Math.abs(systemClock() - Date.now() / 1000)).toBeLessThan(1)
})
