import { generateKeyPairSync } from 'node:crypto'
import Provider from 'oidc-provider'
import { close, freePort, listen } from '../../src/demo/listen.ts'
import type { Peer } from './peers.ts'

/** A client in the words of RFC 7591 §2. */
type ClientMetadata = Readonly<Record<string, unknown>> & { readonly client_id: string }

export interface OidcProvider extends Peer {
  readonly authority: string
  readonly introspectionUrl: string
  readonly jwksUrl: string
  /** An opaque access token, and what its introspection says besides: `sub`, `aud` and whatever `claims` add. */
  issue(claims: { readonly sub: string; readonly aud: string } & Record<string, unknown>): Promise<string>
  revoke(token: string): Promise<void>
}

/** The client for which tokens are issued: in OCM, the share. */
const SHARE: ClientMetadata & { client_secret: string } = {
  client_id: '42',
  client_secret: 'of the sending server, long enough',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: 'client_secret_post',
}

const RESOURCE = 'urn:ocm:share'
const SCOPE = 'share'

/**
 * An authorization server in this process: plain http on loopback, but its issuer says https, as behind a proxy.
 *
 * @param signedAnswers whether it signs what it says of a token for those who ask for that (RFC 9701)
 */
export async function startOidcProvider(
  clients: readonly ClientMetadata[],
  { signedAnswers = false } = {},
): Promise<OidcProvider> {
  const port = await freePort()
  const authority = `localhost:${port}`
  const url = `http://${authority}`
  const issuer = `https://${authority}`
  let claims: { aud: string } & Record<string, unknown> = { aud: '' }
  const provider = new Provider(issuer, {
    clients: [SHARE, ...clients] as never,
    fetch: fromLoopbackToo,
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
    jwks: { keys: [signingJwk(`${issuer}/ocm#1`)] } as never,
    scopes: [SCOPE],
    extraTokenClaims: () => claims,
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      jwtIntrospection: { enabled: signedAnswers },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        getResourceServerInfo: () => ({ scope: SCOPE, audience: claims.aud, accessTokenFormat: 'opaque' }),
      },
    },
  })
  const { server } = await listen(provider.callback(), port)

  async function post(path: string, fields: Record<string, string>): Promise<Record<string, unknown>> {
    const { client_id, client_secret } = SHARE
    const body = new URLSearchParams({ client_id, client_secret, ...fields })
    const response = await fetch(`${url}${path}`, { method: 'POST', body })
    const text = await response.text()
    if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`)
    return text === '' ? {} : JSON.parse(text)
  }

  return {
    authority,
    introspectionUrl: `${url}/token/introspection`,
    jwksUrl: `${url}/jwks`,
    async issue(next) {
      claims = next
      const { access_token } = await post('/token', { grant_type: 'client_credentials', scope: SCOPE })
      return String(access_token)
    },
    async revoke(token) {
      await post('/token/revocation', { token })
    },
    stop: () => close(server),
  }
}

/** Its own fetch refuses loopback addresses, where our keys are. */
function fromLoopbackToo(url: string | URL | Request, options: RequestInit = {}): Promise<Response> {
  return fetch(url, { ...options, dispatcher: undefined } as RequestInit)
}

function signingJwk(kid: string) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' }
}
