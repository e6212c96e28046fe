import { generateKeyPairSync } from 'node:crypto'
import Provider from 'oidc-provider'
import { close, listen } from '../../src/demo/listen.ts'

const CLIENT = { id: 'bench', secret: 'of the bench, long enough to be one' }
const USER = { accountId: 'bob', email: 'bob@bob.localhost' }
const REDIRECTS_MAX = 20

/** An OpenID Provider that logs everybody in as Bob without a question, for the one login that a proxy needs. */
export async function startOidcProvider(port: number, redirectUri: string) {
  const issuer = `http://127.0.0.1:${port}`
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const provider = new Provider(issuer, {
    clients: [{ client_id: CLIENT.id, client_secret: CLIENT.secret, redirect_uris: [redirectUri] }],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'bench', use: 'sig', alg: 'RS256' }] } as never,
    cookies: { keys: ['of the bench'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    ttl: { AccessToken: 3600, Grant: 3600, IdToken: 3600, Interaction: 3600, Session: 3600 },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, { uid }) => `/login/${uid}` },
    findAccount: (_, accountId) => ({
      accountId,
      claims: () => ({ sub: accountId, email: USER.email, email_verified: true }),
    }),
    async loadExistingGrant({ oidc }) {
      const grant = new provider.Grant({ clientId: CLIENT.id, accountId: oidc.session?.accountId ?? '' })
      grant.addOIDCScope('openid email')
      await grant.save()
      return grant
    },
  })
  const answer = provider.callback()
  const { server } = await listen(async (req, res) => {
    if (!req.url?.startsWith('/login/')) return void answer(req, res)
    await provider.interactionFinished(req, res, { login: { accountId: USER.accountId } })
  }, port)
  return { issuer, client: CLIENT, [Symbol.asyncDispose]: () => close(server) }
}

/** Follows redirects as a browser with cookies. @returns the `Cookie` header for where it began */
export async function logIn(start: string): Promise<string> {
  const jars = new Map<string, Map<string, string>>()
  let url = start
  for (let redirects = 0; redirects < REDIRECTS_MAX; redirects += 1) {
    const { origin } = new URL(url)
    const jar = jars.get(origin) ?? new Map<string, string>()
    jars.set(origin, jar)
    const answer = await fetch(url, { redirect: 'manual', headers: { cookie: cookieOf(jar) } })
    for (const line of answer.headers.getSetCookie()) keep(jar, line)
    const location = answer.headers.get('location')
    // Back where it began with a session: what is there is the app’s.
    if (location === null || new URL(location, url).href === new URL('/', start).href) {
      if (answer.status >= 400) throw new Error(`the login ended at ${url}: ${answer.status} ${await answer.text()}`)
      return cookieOf(jars.get(new URL(start).origin) ?? new Map())
    }
    url = new URL(location, url).href
  }
  throw new Error('the login never ended')
}

const cookieOf = (jar: ReadonlyMap<string, string>) => [...jar].map((pair) => pair.join('=')).join('; ')

/** An empty value takes a cookie away, as servers do when they delete one. */
function keep(jar: Map<string, string>, line: string): void {
  const [name = '', value = ''] = line.split(';')[0]?.split(/=(.*)/s) ?? []
  if (value === '') jar.delete(name)
  else jar.set(name, value)
}
