import { tooManyRequests } from '../core/errors.ts'
import type { Line } from '../core/line.ts'
import type { Clock } from '../core/time.ts'
import type { Pairing } from '../trust/pairings.ts'

/** Of what a pairing may be asked in a minute, the part that one client’s bad credentials may use up. */
const SHARE_OF_ONE_CLIENT = 1 / 10

export type RateLimits = ReturnType<typeof createRateLimits>

const MAX_KEYS = 50_000

/** So much was taken from a bucket; less than nothing: given back. */
export interface Taken {
  readonly key: string
  readonly perMinute: number
  readonly count: number
}

/**
 * Token buckets per key, refilled over a minute. Memory is bounded: beyond 50,000 keys the oldest is forgotten.
 *
 * @param told of everything that is taken here
 */
export function createRateLimits(now: Clock, told: (taken: Taken) => void = () => {}) {
  const buckets = new Map<string, { tokens: number; at: number }>()

  function level(key: string, perMinute: number): number {
    const held = buckets.get(key)
    return Math.min(perMinute, (held?.tokens ?? perMinute) + ((now() - (held?.at ?? now())) * perMinute) / 60)
  }

  function set(key: string, tokens: number): void {
    buckets.delete(key)
    if (buckets.size >= MAX_KEYS) buckets.delete(buckets.keys().next().value ?? '')
    buckets.set(key, { tokens, at: now() })
  }

  return {
    /** Takes one of `perMinute`. @throws {GatewayError} 429 `rate_limited`, with the seconds until the next is free */
    take(key: string, perMinute: number): void {
      const tokens = level(key, perMinute)
      set(key, tokens >= 1 ? tokens - 1 : tokens)
      if (tokens >= 1) {
        told({ key, perMinute, count: 1 })
        return
      }
      const retryAfterSeconds = Math.ceil(((1 - tokens) * 60) / perMinute)
      throw tooManyRequests('rate_limited', 'Too many requests. Wait a moment and try again.', { retryAfterSeconds })
    },

    /** Undoes one `take`. */
    giveBack(key: string, perMinute: number): void {
      if (!buckets.has(key)) return
      set(key, Math.min(perMinute, level(key, perMinute) + 1))
      told({ key, perMinute, count: -1 })
    },

    /** Another process has taken this; what it took beyond what there was does not count. */
    takenElsewhere({ key, perMinute, count }: Taken): void {
      set(key, Math.max(0, Math.min(perMinute, level(key, perMinute) - count)))
    },
  }
}

const TELL_MS = 50

/** Token buckets that count for all workers: what one takes, the others know a moment later. */
export function createSharedRateLimits(now: Clock, primary: Line): RateLimits {
  const taken = new Map<string, Taken>()
  const tell = () => {
    primary.ask('taken', [...taken.values()]).catch(() => {})
    taken.clear()
  }
  const limits = createRateLimits(now, ({ key, perMinute, count }) => {
    if (taken.size === 0) setTimeout(tell, TELL_MS).unref()
    taken.set(key, { key, perMinute, count: (taken.get(key)?.count ?? 0) + count })
  })
  primary.handle({
    takenElsewhere(all: readonly Taken[]) {
      for (const each of all) limits.takenElsewhere(each)
    },
  })
  return limits
}

/**
 * Takes one introspection of a pairing’s rate, and before that one of the client’s own share of it, so that bad credentials
 * of one client leave the others theirs.
 *
 * @param client what counts as one client
 * @returns gives the client’s own back: for a credential that turned out active
 * @throws {GatewayError} 429 `rate_limited`
 */
export function takeIntrospection(
  rateLimits: RateLimits,
  { domain, limits: { introspectionsPerMinute } }: Pairing,
  client: string,
): () => void {
  const own = [
    `introspection ${domain} of ${client}`,
    Math.ceil(introspectionsPerMinute * SHARE_OF_ONE_CLIENT),
  ] as const
  rateLimits.take(...own)
  rateLimits.take(`introspection ${domain}`, introspectionsPerMinute)
  return () => rateLimits.giveBack(...own)
}
