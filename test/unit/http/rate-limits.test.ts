import { describe, expect, it } from 'vitest'
import { createLine } from '../../../src/core/line.ts'
import { createRateLimits, createSharedRateLimits } from '../../../src/http/rate-limits.ts'
import { createClock, outcomeOf } from '../fixtures.ts'

function setUp() {
  const clock = createClock()
  const limits = createRateLimits(clock.now)
  const take = (key: string, perMinute: number) => outcomeOf(() => limits.take(key, perMinute))
  /** How many of so many at once are let through. */
  const burst = async (key: string, perMinute: number, tries: number) => {
    const outcomes = await Promise.all(Array.from({ length: tries }, () => take(key, perMinute)))
    return outcomes.filter((outcome) => outcome === 'ok').length
  }
  return { clock, limits, take, burst }
}

describe('a rate limit', () => {
  it('lets a minute’s worth through at once, then as many as time brings', async () => {
    const { clock, burst } = setUp()
    expect(await burst('a', 60, 100)).toBe(60)
    clock.advance(10)
    expect(await burst('a', 60, 100)).toBe(10)
    clock.advance(3600)
    expect(await burst('a', 60, 100)).toBe(60)
  })

  it('who asks a little too often is let through as often as the rate allows', async () => {
    const { clock, take, burst } = setUp()
    await burst('a', 600, 600)
    let passed = 0
    for (let nth = 0; nth < 220; nth += 1) {
      clock.advance(1 / 11)
      if ((await take('a', 600)) === 'ok') passed += 1
    }
    expect(passed).toBeGreaterThanOrEqual(199)
    expect(passed).toBeLessThanOrEqual(201)
  })

  it('counts each key by itself', async () => {
    const { burst } = setUp()
    expect(await burst('a', 5, 10)).toBe(5)
    expect(await burst('b', 5, 10)).toBe(5)
  })

  it('says when the next is free', async () => {
    const { limits, take, clock } = setUp()
    for (let nth = 0; nth < 6; nth += 1) await take('a', 6)
    const error = await Promise.resolve()
      .then(() => limits.take('a', 6))
      .catch((thrown) => thrown)
    expect(error).toMatchObject({ status: 429, reason: 'rate_limited', retryAfterSeconds: 10 })
    clock.advance(error.retryAfterSeconds)
    expect(await take('a', 6)).toBe('ok')
  })

  it('forgets the oldest key when there are too many, so that memory is bounded', async () => {
    const { limits, take } = setUp()
    await take('first', 1)
    expect(await take('first', 1)).toBe('429 rate_limited')
    for (let nth = 0; nth < 50_000; nth += 1) limits.take(`key ${nth}`, 1)
    expect(await take('first', 1)).toBe('ok')
    expect(await take('key 49999', 1)).toBe('429 rate_limited')
  })
})

describe('the rate limits of two workers', () => {
  /** Both in this process; what one asks the other’s line is passed on by hand. */
  function setUpTwo() {
    const { now } = createClock()
    const lines = [0, 1].map(() => {
      const receivers: ((message: unknown) => void)[] = []
      const sent: object[] = []
      const line = createLine({
        send: (message) => void sent.push(message),
        receive: (listener) => void receivers.push(listener),
      })
      return { line, sent, receive: (message: object) => receivers[0]?.(message) }
    })
    const limits = lines.map(({ line }) => createSharedRateLimits(now, line))
    const pass = (key: string, worker: number, tries: number) =>
      Array.from({ length: tries }, () => {
        try {
          limits[worker]?.take(key, 60)
          return 1
        } catch {
          return 0
        }
      }).reduce<number>((sum, one) => sum + one, 0)
    const exchange = async () => {
      await expect.poll(() => lines[0]?.sent.length).toBeGreaterThan(0)
      for (const message of lines[0]?.sent.splice(0) ?? []) {
        lines[1]?.receive({ ...message, name: 'takenElsewhere' })
      }
    }
    return { limits, pass, exchange }
  }

  it('are one: what the one let through, the other does not', async () => {
    const { pass, exchange } = setUpTwo()
    expect(pass('a', 0, 45)).toBe(45)
    await exchange()
    expect(pass('a', 1, 100)).toBe(15)
    expect(pass('b', 1, 100)).toBe(60)
  })

  it('know what was given back', async () => {
    const { limits, pass, exchange } = setUpTwo()
    expect(pass('a', 0, 60)).toBe(60)
    for (let nth = 0; nth < 10; nth += 1) limits[0]?.giveBack('a', 60)
    await exchange()
    expect(pass('a', 1, 100)).toBe(10)
  })

  it('let nobody pay for more than there was', async () => {
    const { pass, exchange } = setUpTwo()
    expect(pass('a', 0, 60)).toBe(60)
    expect(pass('a', 1, 60)).toBe(60)
    await exchange()
    expect(pass('a', 1, 1)).toBe(0)
  })
})
