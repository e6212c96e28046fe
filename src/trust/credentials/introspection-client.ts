import { compactVerify, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import {
  allowInsecureRequests,
  type ClientAuth,
  ClientSecretBasic,
  ClientSecretPost,
  Configuration,
  type CustomFetch,
  customFetch,
  type IntrospectionResponse,
  modifyAssertion,
  None,
  PrivateKeyJwt,
  tokenIntrospection,
} from 'openid-client'
import { GatewayError } from '../../core/errors.ts'
import { type Outbound, OutboundError } from '../../core/outbound.ts'
import type { Clock } from '../../core/time.ts'
import { signRequest } from '../http-signature.ts'
import { JWS_ALGORITHMS } from '../jwk.ts'
import type { Keys } from '../keys.ts'
import type { Pairing } from '../pairings.ts'
import type { SigningKey } from '../signing-key.ts'

const TIMEOUT_SECONDS = 5
const MAX_BYTES = 256 * 1024
/** A server that can sign its answers does so when it is asked to (RFC 9701 §4). */
const ACCEPT = 'application/token-introspection+jwt, application/json;q=0.9'

/** A pairing whose credentials can be asked about. */
export type AskedPairing = Pairing & { readonly introspection: NonNullable<Pairing['introspection']> }

/** There is no answer that counts. Its message quotes nothing of what the endpoint sent, which may be the credential. */
export class IntrospectionError extends Error {
  override readonly name = 'IntrospectionError'
  /** HTTP status; `undefined` when the endpoint could not be reached. */
  readonly status: number | undefined

  constructor(message: string, status: number | undefined, cause: unknown) {
    super(message, { cause })
    this.status = status
  }
}

export interface IntrospectionClientParts {
  readonly keys: Keys
  readonly outbound: Outbound
  readonly signingKey: SigningKey
  readonly now: Clock
}

export type IntrospectionClient = ReturnType<typeof createIntrospectionClient>

/**
 * Asks introspection endpoints, in each of the ways to say who asks; signed answers are verified.
 *
 * @see RFC 7662, RFC 9701
 *
 * Does NOT cache, count, or judge what an answer says.
 */
export function createIntrospectionClient({ keys, outbound, signingKey, now }: IntrospectionClientParts) {
  async function clientFor(pairing: AskedPairing, fetch: CustomFetch): Promise<Configuration> {
    const { domain, introspection } = pairing
    const metadata = {
      // What a signed answer must have as its `iss`.
      issuer: introspection.issuer ?? `https://${domain}`,
      introspection_endpoint: introspection.url,
      introspection_signing_alg_values_supported: Object.values(JWS_ALGORITHMS).flat(),
    }
    const client = new Configuration(metadata, clientIdAt(pairing), {}, await authenticationOf(introspection))
    client[customFetch] = fetch
    if (introspection.url.startsWith('http:')) allowInsecureRequests(client)
    return client
  }

  const clientIdAt = ({ introspection: { clientId = signingKey.authority } }: AskedPairing) => clientId

  /** How the request says who asks; `http-signature` and `bearer` are added when it is sent. */
  async function authenticationOf({
    auth,
    clientId,
    clientSecretFile,
    url,
  }: AskedPairing['introspection']): Promise<ClientAuth> {
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

  /** @param answered is told the status of the endpoint’s answer */
  function fetchFor(pairing: AskedPairing, answered: (status: number) => void): CustomFetch {
    const { auth, clientSecretFile } = pairing.introspection
    return async (url, { method, headers, body }) => {
      const bytes = Buffer.from(String(body))
      const extra = auth === 'http-signature' ? signRequest({ method, url, body: bytes }, signingKey, now()) : {}
      const bearer = auth === 'bearer' ? { authorization: `Bearer ${clientSecretFile?.reveal()}` } : {}
      const all = { ...Object.fromEntries(new Headers(headers)), accept: ACCEPT, ...extra, ...bearer }
      const limits = { timeoutSeconds: TIMEOUT_SECONDS, maxBytes: MAX_BYTES, operatorNamed: true }
      const response = await outbound.request(url, { method, headers: all, body: bytes }, limits)
      answered(response.status)
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

  return {
    /** Our identifier at a pairing’s endpoint. */
    clientIdAt,

    /** @throws {IntrospectionError} when there is no answer that counts */
    async ask(pairing: AskedPairing, text: string): Promise<IntrospectionResponse> {
      let status: number | undefined
      const fetch = fetchFor(pairing, (answered) => {
        status = answered
      })
      try {
        return await tokenIntrospection(await clientFor(pairing, fetch), text, { token_type_hint: 'access_token' })
      } catch (error) {
        throw new IntrospectionError(reasonOf(error as Error), status, error)
      }
    },
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
