import { z } from 'zod'
import type { Webapp } from '../../config/schema.ts'
import type { Outbound } from '../../core/outbound.ts'
import type { OnlineFinding } from '../app.ts'
import type { JupyterhubOptions } from './options.ts'

const LIMITS = { timeoutSeconds: 10, maxBytes: 1024 * 1024, operatorNamed: true }

/** What the token must be allowed, and what each is for. */
const SCOPES = {
  'admin:users': 'makes and removes the users of shares',
  servers: 'starts, watches and stops their servers',
  tokens: 'makes the tokens with which people reach them',
}

const about = z.object({ version: z.string() })
const identity = z.object({ kind: z.string(), name: z.string(), scopes: z.array(z.string()) })

const well = (path: string, message: string): OnlineFinding => ({ ok: true, path, message })
const wrong = (path: string, message: string): OnlineFinding => ({ ok: false, path, message })

/**
 * Whether the hub is there, under the webapp’s path, and whether our token may do what it must. Two calls that need no
 * scope of their own: `GET /hub/api` and `GET /hub/api/user`.
 *
 * @param apiUrl without a slash at its end
 *
 * Does NOT start a server: a spawner that fails shows with the first launch.
 */
export async function checkHub(
  { publicUrl, upstream, options }: Webapp<JupyterhubOptions>,
  apiUrl: string,
  outbound: Outbound,
): Promise<readonly OnlineFinding[]> {
  const api = await askVersion(apiUrl, publicUrl, outbound)
  if (!api.ok) return [api]
  const proxied = `${upstream}hub/api`
  const [proxy, scopes] = await Promise.all([
    proxied === apiUrl ? [] : askProxy(proxied, publicUrl, outbound),
    askScopes(apiUrl, options.apiTokenFile.reveal(), outbound),
  ])
  return [api, ...proxy, ...scopes]
}

/** A hub answers its API below its `base_url` only, which has to be the path that browsers see. */
async function askVersion(apiUrl: string, publicUrl: string, outbound: Outbound): Promise<OnlineFinding> {
  const path = 'jupyterhub.apiUrl'
  const base = new URL(publicUrl).pathname
  const { status, json, failure } = await ask(apiUrl, {}, outbound)
  if (failure !== undefined)
    return wrong(path, `cannot be reached: ${failure} (compare the address, and whether the hub runs)`)
  const { version } = about.safeParse(json).data ?? {}
  if (version === undefined) {
    const right = `must be the hub’s address with its base_url, which is ${base} as in publicUrl, and hub/api behind it`
    return wrong(path, `answers ${status}, and is no JupyterHub API (${right})`)
  }
  const { pathname } = new URL(apiUrl)
  if (pathname === `${base}hub/api`) return well(path, `JupyterHub ${version}${olderThanSafe(version)}`)
  const own = pathname.replace(/hub\/api$/, '')
  return wrong(path, `is of a hub with the base_url ${own}, where publicUrl has ${base} (must be the same)`)
}

/** CVE-2024-41942 was fixed in 4.1.6 and 5.1.0. */
function olderThanSafe(version: string): string {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number)
  const safe = major > 5 || (major === 5 && minor >= 1) || (major === 4 && (minor > 1 || (minor === 1 && patch >= 6)))
  return safe ? '' : ', in which our token can even make administrators (CVE-2024-41942: upgrade to 5.1 or newer)'
}

/** Where browsers’ requests go: the hub’s proxy, not the hub itself. */
async function askProxy(url: string, publicUrl: string, outbound: Outbound): Promise<readonly OnlineFinding[]> {
  const { status, json, failure } = await ask(url, {}, outbound)
  // That nobody answers at all is told without us.
  if (failure !== undefined) return []
  if (about.safeParse(json).success) return [well('upstream', 'the same base_url there')]
  const { pathname } = new URL(publicUrl)
  return [wrong('upstream', `answers ${status} at hub/api (must be the hub’s proxy, with the base_url ${pathname})`)]
}

async function askScopes(apiUrl: string, token: string, outbound: Outbound): Promise<readonly OnlineFinding[]> {
  const path = 'jupyterhub.apiTokenFile'
  const { status, json, failure } = await ask(`${apiUrl}/user`, { authorization: `token ${token}` }, outbound)
  if (failure !== undefined) return [wrong(path, `could not be tried: ${failure}`)]
  if (status === 401 || status === 403)
    return [wrong(path, `is not a token that the hub knows: it answers ${status} (must be the api_token of a service)`)]
  const holder = identity.safeParse(json).data
  if (holder === undefined) return [wrong(path, `could not be tried: the hub answers ${status} at ${apiUrl}/user`)]
  return [
    well(path, `the token of the ${holder.kind} ${holder.name}`),
    ...Object.entries(SCOPES).map(([scope, use]) => judge(scope, use, holder.scopes)),
  ]
}

function judge(scope: string, use: string, held: readonly string[]): OnlineFinding {
  const path = 'jupyterhub.apiTokenFile'
  if (held.includes(scope)) return well(path, `the scope ${scope} (${use})`)
  const narrowed = held.filter((each) => each.startsWith(`${scope}!`))
  const instead = narrowed.length === 0 ? '' : `, and ${narrowed.join(', ')} does not work for services`
  return wrong(path, `lacks the scope ${scope}, which ${use}${instead} (add it to the service’s role in load_roles)`)
}

interface Answer {
  readonly status?: number
  readonly json?: unknown
  /** Why there is no answer. */
  readonly failure?: string
}

async function ask(url: string, headers: Record<string, string>, outbound: Outbound): Promise<Answer> {
  try {
    const { status, body } = await outbound.request(
      url,
      { headers: { accept: 'application/json', ...headers } },
      LIMITS,
    )
    return { status, json: asJson(body.toString('utf8')) }
  } catch (error) {
    return { failure: (error as Error).message }
  }
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
