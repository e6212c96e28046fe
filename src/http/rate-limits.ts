import { tooManyRequests } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import type { Pairing } from '../trust/pairings.ts'

/** Of what a pairing may be asked in a minute, the part that one client’s bad credentials may use up. */
const SHARE_OF_ONE_CLIENT = 1 / 10

export type RateLimits = ReturnType<typeof createRateLimits>

const MAX_KEYS = 50_000

/** Token buckets per key, refilled over a minute. Memory is bounded: beyond 50,000 keys the oldest is forgotten. */
export function createRateLimits(now: Clock) {
  const buckets = new Map<string, { tokens: number; at: number }>()

  return {
    /** Takes one of `perMinute`. @throws {GatewayError} 429 `rate_limited`, with the seconds until the next is free */
    take(key: string, perMinute: number): void {
      const held = buckets.get(key)
      const tokens = Math.min(perMinute, (held?.tokens ?? perMinute) + ((now() - (held?.at ?? now())) * perMinute) / 60)
      buckets.delete(key)
      if (buckets.size >= MAX_KEYS) buckets.delete(buckets.keys().next().value ?? '')
      buckets.set(key, { tokens: tokens >= 1 ? tokens - 1 : tokens, at: now() })
      if (tokens >= 1) return
      const retryAfterSeconds = Math.ceil(((1 - tokens) * 60) / perMinute)
      throw tooManyRequests('rate_limited', 'Too many requests. Wait a moment and try again.', { retryAfterSeconds })
    },

    /** Undoes one `take`. */
    giveBack(key: string, perMinute: number): void {
      const held = buckets.get(key)
      if (held !== undefined) held.tokens = Math.min(perMinute, held.tokens + 1)
    },
  }
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
