import { createHash } from 'node:crypto'
import { compactVerify, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import {
  allowInsecureRequests,
  type ClientAuth,
  ClientSecretBasic,
  ClientSecretPost,
  Configuration,
  type CustomFetch,
  customFetch,
  modifyAssertion,
  None,
  PrivateKeyJwt,
  tokenIntrospection,
} from 'openid-client'
import { z } from 'zod'
import { GatewayError, invalidToken, unavailable } from '../../core/errors.ts'
import type { Events } from '../../core/events.ts'
import { type Outbound, OutboundError } from '../../core/outbound.ts'
import { Secret } from '../../core/secret.ts'
import type { Clock } from '../../core/time.ts'
import { signRequest } from '../http-signature.ts'
import { JWS_ALGORITHMS } from '../jwk.ts'
import type { Keys } from '../keys.ts'
import type { Pairing, Pairings } from '../pairings.ts'
import type { SigningKey } from '../signing-key.ts'
import { CLOCK_SKEW_SECONDS, issuerOf, MAX_TOKEN_SECONDS } from './claims.ts'
import type { CredentialVerifier, VerifiedCredential } from './credential.ts'

const TIMEOUT_SECONDS = 5
const MAX_BYTES = 256 * 1024
const POSITIVE_SECONDS = 300
const NEGATIVE_SECONDS = 10
const MAX_CACHED = 20_000
const RETRY_SECONDS = 10
/** A server that can sign its answers does so when it is asked to (RFC 9701 §4). */
const ACCEPT = 'application/token-introspection+jwt, application/json;q=0.9'

type Introspection = NonNullable<Pairing['introspection']>

/** What an answer must say to count (RFC 7662 §2.2); `active` is a boolean, not the word. */
const activeAnswer = z.object({
  active: z.literal(true),
  iss: z.string(),
  sub: z.string().min(1),
  aud: z.union([z.string().min(1), z.tuple([z.string().min(1)]).transform(([only]) => only)]),
  exp: z.number(),
  client_id: z.union([z.string().min(1), z.int().transform(String)]).optional(),
  ocm_ip: z.unknown().optional(),
})

type Answer = z.infer<typeof activeAnswer>

export interface IntrospectionParts {
  readonly pairings: Pairings
  readonly keys: Keys
  readonly outbound: Outbound
  readonly signingKey: SigningKey
  readonly now: Clock
  readonly events: Events
  /** Takes one introspection of a pairing’s rate. @throws {GatewayError} 429 */
  readonly takeRate: (pairing: Pairing) => void
}

/**
 * Credentials that their issuer is asked about: opaque ones, and JWTs of pairings that prefer it or permit nothing else.
 * Positive answers are cached until `exp`, 5 minutes at most; negative ones for 10 seconds; failures not at all.
 *
 * @see RFC 7662, RFC 9701
 *
 * Does NOT check that the answer belongs to a share: a cached answer goes through the grant’s rules on every use.
 */
export function createIntrospectionVerifier({
  pairings,
  keys,
  outbound,
  signingKey,
  now,
  events,
  takeRate,
}: IntrospectionParts): CredentialVerifier {
  const cache = new Map<string, { answer: Answer | undefined; until: number }>()
  const inFlight = new Map<string, Promise<Answer | undefined>>()

  /** @returns the answer; `undefined` when the credential is not active */
  async function answerOf(pairing: Pairing, introspection: Introspection, text: string): Promise<Answer | undefined> {
    const key = createHash('sha256')
      .update(JSON.stringify([pairing.domain, introspection.url, text]))
      .digest('base64url')
    const cached = cache.get(key)
    if (cached !== undefined && now() < cached.until) return cached.answer
    const asked = inFlight.get(key) ?? ask(pairing, introspection, text).finally(() => inFlight.delete(key))
    inFlight.set(key, asked)
    const answer = await asked
    if (cache.size >= MAX_CACHED) cache.delete(cache.keys().next().value ?? '')
    const until = answer === undefined ? now() + NEGATIVE_SECONDS : Math.min(answer.exp, now() + POSITIVE_SECONDS)
    cache.set(key, { answer, until })
    return answer
  }

  async function ask(pairing: Pairing, introspection: Introspection, text: string): Promise<Answer | undefined> {
    takeRate(pairing)
    try {
      const answer = await tokenIntrospection(await clientFor(pairing, introspection), text, {
        token_type_hint: 'access_token',
      })
      const active = answer.active === true ? activeAnswer.parse(answer) : undefined
      events.introspected({ domain: pairing.domain, result: active === undefined ? 'inactive' : 'active' })
      return active
    } catch (error) {
      const message = error instanceof z.ZodError ? 'the answer lacks iss, sub, aud or exp' : reasonOf(error as Error)
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

  async function clientFor(pairing: Pairing, introspection: Introspection): Promise<Configuration> {
    const { url, clientId = signingKey.authority } = introspection
    const metadata = {
      issuer: `https://${pairing.domain}`,
      introspection_endpoint: url,
      introspection_signing_alg_values_supported: Object.values(JWS_ALGORITHMS).flat(),
    }
    const client = new Configuration(metadata, clientId, {}, await authenticationOf(introspection))
    client[customFetch] = fetchFor(pairing, introspection)
    if (url.startsWith('http:')) allowInsecureRequests(client)
    return client
  }

  /** How the request says who asks; `http-signature` and `bearer` are added when it is sent. */
  async function authenticationOf({ auth, clientId, clientSecretFile, url }: Introspection): Promise<ClientAuth> {
    const secret = clientSecretFile?.reveal() ?? ''
    if (auth === 'client_secret_basic') return ClientSecretBasic(secret)
    if (auth === 'client_secret_post') return ClientSecretPost(secret)
    if (auth === 'none' && clientId !== undefined) return None()
    if (auth !== 'private_key_jwt') return () => {}
    const key = await importJWK(signingKey.key.export({ format: 'jwk' }) as JWK, 'EdDSA')
    return PrivateKeyJwt(
      { key: key as Exclude<typeof key, Uint8Array>, kid: signingKey.keyid },
      { [modifyAssertion]: (header, payload) => addressAssertion(header, payload, url) },
    )
  }

  function fetchFor(pairing: Pairing, { auth, clientSecretFile }: Introspection): CustomFetch {
    return async (url, { method, headers, body }) => {
      const bytes = Buffer.from(String(body))
      const extra = auth === 'http-signature' ? signRequest({ method, url, body: bytes }, signingKey, now()) : {}
      const bearer = auth === 'bearer' ? { authorization: `Bearer ${clientSecretFile?.reveal()}` } : {}
      const all = { ...Object.fromEntries(new Headers(headers)), accept: ACCEPT, ...extra, ...bearer }
      const limits = { timeoutSeconds: TIMEOUT_SECONDS, maxBytes: MAX_BYTES, operatorNamed: true }
      const response = await outbound.request(url, { method, headers: all, body: bytes }, limits)
      const type = response.headers.get('content-type') ?? ''
      if (/^application\/token-introspection\+jwt\s*(;|$)/i.test(type))
        await verifySigned(response.body.toString('utf8'), pairing)
      return new Response(new Uint8Array(response.body), { status: response.status, headers: { 'content-type': type } })
    }
  }

  /** RFC 9701 §5: a signed answer must be signed by the pairing’s own key. Its claims are checked by openid-client. */
  async function verifySigned(jwt: string, pairing: Pairing): Promise<void> {
    const { kid, alg } = decodeProtectedHeader(jwt)
    if (typeof kid !== 'string' || typeof alg !== 'string')
      throw new OutboundError('the signed answer has no kid or alg')
    const key = await keys.find(pairing, kid)
    if (!JWS_ALGORITHMS[key.kind].includes(alg)) throw new OutboundError('the signed answer’s alg does not fit its key')
    await compactVerify(jwt, key.key, { algorithms: [alg] })
  }

  function accept(answer: Answer, pairing: Pairing, text: string): VerifiedCredential {
    if (pairings.ofIssuer(answer.iss) !== pairing) {
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

  return async (text, candidates) => {
    const pairing = whoIssued(text, candidates)
    if (pairing?.introspection === undefined || !pairing.modes.includes('introspected')) return undefined
    const answer = await answerOf(pairing, pairing.introspection, text)
    if (answer === undefined)
      throw invalidToken('credential_inactive', 'The sending server says that this credential is not valid (any more).')
    return accept(answer, pairing, text)
  }

  /** A JWT says whose it is; an opaque credential is of the one pairing here that takes such. */
  function whoIssued(text: string, candidates: readonly Pairing[]): Pairing | undefined {
    const iss = issuerOf(text)
    if (iss === undefined) {
      // Where several could own it, none is asked: the others’ secrets are not theirs to see.
      const owners = candidates.filter(({ modes, introspection }) => introspection && modes.includes('introspected'))
      return owners.length === 1 ? owners[0] : undefined
    }
    const pairing = pairings.ofIssuer(iss.claimed)
    const only = pairing.modes.every((mode) => mode === 'introspected')
    return only || pairing.introspection?.prefer ? pairing : undefined
  }
}

/**
 * Our JWKS says `EdDSA`, which more servers know than the newer name `Ed25519` (RFC 9864). The audience is the endpoint
 * itself (RFC 7523 §3): the operator gave its address, while the issuer behind it may have another name (Keycloak’s has a path).
 */
function addressAssertion(header: Record<string, unknown>, payload: Record<string, unknown>, url: string): void {
  header.alg = 'EdDSA'
  payload.aud = url
}

/** What went wrong, without what the endpoint sent: it may quote the credential. */
function reasonOf(error: Error): string {
  if (error instanceof OutboundError) return error.message
  if (error instanceof GatewayError) return error.reason
  return (error as Error & { code?: string }).code ?? error.name
}
