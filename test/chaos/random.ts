/** A repeatable sequence of choices (mulberry32): the same seed, the same sequence. */
export function createRandom(seed: number) {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    between: (from: number, to: number): number => from + next() * (to - from),
    /** One of them; `undefined` when there is none. */
    of: <T>(items: readonly T[]): T | undefined => items[Math.floor(next() * items.length)],
  }
}

export type Random = ReturnType<typeof createRandom>
