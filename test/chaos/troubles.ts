/** What is broken from outside: the store or the way to it, a replica, or its clock. `split`: two Redis say that they are the master. */
export type Part = 'store' | 'split' | 'replica' | 'restart' | 'clock'

interface Trouble {
  readonly part: Part
  readonly from: number
  to: number
}

/** After everything answers again, for what connects again by itself. */
const SETTLING_MS = 3000

export type Troubles = ReturnType<typeof createTroubles>

/** When something was broken on purpose; only then may an answer fail. Times are those of `performance.now()`. */
export function createTroubles() {
  const all: Trouble[] = []
  return {
    /** @returns the function to call when it is whole again */
    begin(part: Part): () => void {
      const trouble = { part, from: performance.now(), to: Number.POSITIVE_INFINITY }
      all.push(trouble)
      return () => {
        trouble.to = performance.now() + SETTLING_MS
      }
    },
    /** Whether a part was broken at some time between two. */
    between: (parts: readonly Part[], from: number, to: number): boolean =>
      all.some((trouble) => parts.includes(trouble.part) && trouble.from <= to && trouble.to >= from),
  }
}
