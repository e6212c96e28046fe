import { createHash } from 'node:crypto'
import { z } from 'zod'
import { invalidToken, unavailable } from '../../core/errors.ts'
import type { Events } from '../../core/events.ts'
import { Secret } from '../../core/secret.ts'
import type { Pairing, Pairings } from '../pairings.ts'
import { CLOCK_SKEW_SECONDS, issuerOf, MAX_TOKEN_SECONDS } from './claims.ts'
import type { CredentialVerifier, VerifiedCredential } from './credential.ts'
import { type AskedPairing, createIntrospectionClient, type IntrospectionClientParts } from './introspection-client.ts'

const POSITIVE_SECONDS = 300
const NEGATIVE_SECONDS = 10
const MAX_CACHED = 20_000
const RETRY_SECONDS = 10
const MAX_AUDIENCE = 10

/** What an answer must say to count (RFC 7662 §2.2); `active` is a boolean, not the word. */
const activeAnswer = z.object({
  active: z.literal(true),
  iss: z.string(),
  sub: z.string().min(1),
  aud: z.union([
    z
      .string()
      .min(1)
      .transform((only) => [only]),
    z.array(z.string().min(1)).max(MAX_AUDIENCE),
  ]),
  exp: z.number(),
  client_id: z.union([z.string().min(1), z.int().transform(String)]).optional(),
  ocm_ip: z.unknown().optional(),
})

/** An answer that counts; of its audience, the recipient. */
type Answer = Omit<z.infer<typeof activeAnswer>, 'aud'> & { readonly aud: string }

export interface IntrospectionParts extends IntrospectionClientParts {
  readonly pairings: Pairings
  readonly events: Events
  /**
   * Takes one introspection of the rates of a pairing and of the client.
   *
   * @returns gives the client’s back
   * @throws {GatewayError} 429
   */
  readonly takeRate: (pairing: Pairing, client: string) => () => void
}

/**
 * Credentials that their issuer is asked about: opaque ones, and JWTs of pairings that prefer it or permit nothing else.
 * Positive answers are cached until `exp`, 5 minutes at most; negative ones for 10 seconds; failures not at all.
 *
 * @see RFC 7662, RFC 9701
 *
 * Does NOT check that the answer belongs to a share: a cached answer goes through the grant’s rules on every use.
 */
export function createIntrospectionVerifier(parts: IntrospectionParts): CredentialVerifier {
  const { pairings, now, events, takeRate } = parts
  const { ask, clientIdAt } = createIntrospectionClient(parts)
  const cache = new Map<string, { answer: Answer | undefined; until: number }>()
  const inFlight = new Map<string, Promise<Answer | undefined>>()

  /** @returns the answer; `undefined` when the credential is not active */
  async function answerOf(pairing: AskedPairing, text: string, client: string): Promise<Answer | undefined> {
    const key = createHash('sha256')
      .update(JSON.stringify([pairing.domain, pairing.introspection.url, text]))
      .digest('base64url')
    const cached = cache.get(key)
    if (cached !== undefined && now() < cached.until) return cached.answer
    const asked = inFlight.get(key) ?? askFor(client, pairing, text).finally(() => inFlight.delete(key))
    inFlight.set(key, asked)
    const answer = await asked
    if (cache.size >= MAX_CACHED) cache.delete(cache.keys().next().value ?? '')
    const until = answer === undefined ? now() + NEGATIVE_SECONDS : Math.min(answer.exp, now() + POSITIVE_SECONDS)
    cache.set(key, { answer, until })
    return answer
  }

  /** Asks within the rates; an active credential costs the client nothing. */
  async function askFor(client: string, pairing: AskedPairing, text: string): Promise<Answer | undefined> {
    const giveBack = takeRate(pairing, client)
    const answer = await askAndTell(pairing, text)
    if (answer !== undefined) giveBack()
    return answer
  }

  async function askAndTell(pairing: AskedPairing, text: string): Promise<Answer | undefined> {
    try {
      const answer = await ask(pairing, text)
      const active = answer.active === true ? readAnswer(answer, clientIdAt(pairing)) : undefined
      events.introspected({ domain: pairing.domain, result: active === undefined ? 'inactive' : 'active' })
      return active
    } catch (error) {
      const message = error instanceof z.ZodError ? 'the answer lacks iss, sub, aud or exp' : (error as Error).message
      events.introspectionFailed({ domain: pairing.domain, result: 'failed', message })
      throw unavailable(
        'introspection_unavailable',
        `${pairing.domain} cannot be asked about this credential now. Try again in a minute.`,
        {
          retryAfterSeconds: RETRY_SECONDS,
          cause: error,
        },
      )
    }
  }

  /** The name that the operator gave, letter by letter; else the pairing’s host. */
  function isOfIssuer(iss: string, pairing: Pairing): boolean {
    const named = pairing.introspection?.issuer
    return named === undefined ? pairings.ofIssuer(iss) === pairing : iss === named
  }

  function accept(answer: Answer, pairing: Pairing, text: string): VerifiedCredential {
    if (!isOfIssuer(answer.iss, pairing)) {
      throw invalidToken(
        'introspection_issuer',
        'The answer about this credential is of another issuer than the one that was asked.',
      )
    }
    if (answer.exp <= now() - CLOCK_SKEW_SECONDS)
      throw invalidToken('token_expired', `The credential expired ${Math.round(now() - answer.exp)} s ago.`)
    const exp = Math.min(answer.exp, now() + MAX_TOKEN_SECONDS)
    const { sub, aud, client_id: clientId, ocm_ip: ocmIp } = answer
    return { pairing, sub, aud, clientId, exp, ocmIp, introspected: true, token: new Secret(text) }
  }

  return async (text, candidates, client) => {
    const pairing = whoIssued(text, candidates)
    if (pairing === undefined || !isAsked(pairing)) return undefined
    const answer = await answerOf(pairing, text, client)
    if (answer === undefined)
      throw invalidToken('credential_inactive', 'The sending server says that this credential is not valid (any more).')
    return accept(answer, pairing, text)
  }

  /** A JWT says whose it is; an opaque credential is of the one pairing here that takes such. */
  function whoIssued(text: string, candidates: readonly Pairing[]): Pairing | undefined {
    const iss = issuerOf(text)
    if (iss === undefined) {
      // Where several could own it, none is asked: the others’ secrets are not theirs to see.
      const owners = candidates.filter(isAsked)
      return owners.length === 1 ? owners[0] : undefined
    }
    // Such a name is no OCM server’s: only the endpoint can tell about its JWTs.
    const named = pairings.all.find(({ introspection }) => introspection?.issuer === (iss.claimed ?? ''))
    if (named !== undefined) return named
    const pairing = pairings.ofIssuer(iss.claimed)
    const only = pairing.modes.every((mode) => mode === 'introspected')
    return only || pairing.introspection?.prefer ? pairing : undefined
  }
}

function isAsked(pairing: Pairing): pairing is AskedPairing {
  return pairing.introspection !== undefined && pairing.modes.includes('introspected')
}

/**
 * Besides the recipient, a server may name the client that asks (RFC 9701 §5, and Keycloak, which answers no other).
 *
 * @throws {z.ZodError}
 */
function readAnswer(answer: object, clientId: string): Answer {
  const { aud, ...rest } = activeAnswer.parse(answer)
  const others = aud.length === 1 ? aud : aud.filter((entry) => entry !== clientId)
  return { ...rest, aud: z.tuple([z.string()]).parse(others)[0] }
}
