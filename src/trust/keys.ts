import { z } from 'zod'
import { invalidToken, unavailable } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { type Outbound, OutboundError } from '../core/outbound.ts'
import type { Clock } from '../core/time.ts'
import type { Discover } from './discovery.ts'
import { importVerificationKey, type VerificationKey } from './jwk.ts'
import type { Pairing } from './pairings.ts'

const CACHE_SECONDS = 600
const COOLDOWN_SECONDS = 30
const RETRY_SECONDS = 5
const GRACE_SECONDS = 3600
const TIMEOUT_SECONDS = 5
const MAX_BYTES = 256 * 1024
const MAX_KEYS = 100

const jwkSet = z.object({ keys: z.array(z.unknown()).max(MAX_KEYS) })

/** What is known of one pairing’s keys. */
interface Cached {
  keys: ReadonlyMap<string, VerificationKey>
  /** Epoch seconds of the last good answer; 0 before the first. */
  fetchedAt: number
  /** No fetch before this time: after a failure, or after an answer that did not have the `kid` that was looked for. */
  restUntil: number
  /** The last attempt failed, so "unknown" may be our fault. */
  failing: boolean
  inFlight: Promise<void> | undefined
}

export type Keys = ReturnType<typeof createKeys>

/**
 * The keys of paired servers: discovered, cached for 10 minutes, fetched again for an unknown `kid` but not more often than
 * every 30 seconds (5 after a failure), one fetch in flight per pairing. When a refresh fails, the last good keys serve for
 * another hour.
 *
 * @see RFC 7517; OCM discovery (`jwksUri`)
 */
export function createKeys({
  outbound,
  discover,
  now,
  events,
}: {
  outbound: Outbound
  discover: Discover
  now: Clock
  events: Events
}) {
  const caches = new Map<string, Cached>()

  async function refresh(pairing: Pairing, cache: Cached): Promise<void> {
    try {
      const { keys, rejected } = readKeys(await fetchJwks(pairing))
      events.keysFetched({ domain: pairing.domain, result: keys.size > 0 ? 'ok' : 'empty', keys: keys.size, rejected })
      if (keys.size === 0) throw new OutboundError('the key set is empty')
      Object.assign(cache, { keys, fetchedAt: now(), failing: false })
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error
      Object.assign(cache, { failing: true, restUntil: now() + RETRY_SECONDS })
      const stillServing = now() < cache.fetchedAt + CACHE_SECONDS + GRACE_SECONDS
      events.keysFailed({ domain: pairing.domain, result: 'failed', message: error.message, stillServing })
    }
  }

  function refreshOnce(pairing: Pairing, cache: Cached): Promise<void> {
    cache.inFlight ??= refresh(pairing, cache).finally(() => {
      cache.inFlight = undefined
    })
    return cache.inFlight
  }

  async function fetchJwks(pairing: Pairing): Promise<unknown> {
    const limits = { timeoutSeconds: TIMEOUT_SECONDS, maxBytes: MAX_BYTES }
    if (pairing.keysUrl !== undefined) return outbound.getJson(pairing.keysUrl, { ...limits, operatorNamed: true })
    const { origin, jwksUri } = await discover(pairing)
    const url = jwksUri ?? `${origin}/.well-known/jwks.json`
    return outbound.getJson(url, {
      ...limits,
      operatorNamed: new URL(url).origin === origin && new URL(url).protocol === 'https:',
    })
  }

  return {
    /** What a pairing publishes now; nothing of it is kept. @throws {OutboundError} */
    fetch: async (pairing: Pairing) => readKeys(await fetchJwks(pairing)),

    /**
     * The key with exactly this `kid`, of this pairing only.
     *
     * @throws {GatewayError} 401 `key_unknown`; 503 `keys_unavailable` when it is our side that cannot tell
     */
    async find(pairing: Pairing, kid: string): Promise<VerificationKey> {
      const cache = caches.get(pairing.domain) ?? {
        keys: new Map(),
        fetchedAt: 0,
        restUntil: 0,
        failing: false,
        inFlight: undefined,
      }
      caches.set(pairing.domain, cache)
      const fresh = () => now() < cache.fetchedAt + CACHE_SECONDS
      if (!(fresh() && cache.keys.has(kid)) && (cache.inFlight || now() >= cache.restUntil)) {
        await refreshOnce(pairing, cache)
        if (!cache.failing && !cache.keys.has(kid)) cache.restUntil = now() + COOLDOWN_SECONDS
      }
      const key = cache.keys.get(kid)
      if (key !== undefined && now() < cache.fetchedAt + CACHE_SECONDS + GRACE_SECONDS) return key
      if (cache.failing || !fresh()) {
        throw unavailable(
          'keys_unavailable',
          `The keys of ${pairing.domain} cannot be fetched now. Try again in a minute.`,
          {
            retryAfterSeconds: RETRY_SECONDS,
          },
        )
      }
      throw invalidToken('key_unknown', `${pairing.domain} publishes no key with this kid.${upgradeHint(kid)}`, {
        detail: { kid: kid.slice(0, 300) },
      })
    },
  }
}

/** Nextcloud’s older RSA key is published as PEM in discovery only; it is never read. */
function upgradeHint(kid: string): string {
  return kid.endsWith('#signature')
    ? ' It is a legacy Nextcloud key: upgrade the sending server to one that publishes its keys as a JWK Set.'
    : ''
}

function readKeys(document: unknown): { keys: Map<string, VerificationKey>; rejected: string[] } {
  const parsed = jwkSet.safeParse(document)
  if (!parsed.success) throw new OutboundError('the answer is not a JWK Set')
  const keys = new Map<string, VerificationKey>()
  const rejected: string[] = []
  for (const member of parsed.data.keys) {
    const key = importVerificationKey(member)
    if (typeof key === 'string') rejected.push(key.slice(0, 300))
    else keys.set(key.kid, key)
  }
  return { keys, rejected }
}
