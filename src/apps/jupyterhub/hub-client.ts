import { z } from 'zod'
import { type Outbound, OutboundError } from '../../core/outbound.ts'
import type { Secret } from '../../core/secret.ts'
import { hubMalformed, hubRefusal, hubUnavailable } from './hub-errors.ts'
import { HUB_USER_PREFIX } from './hub-user.ts'
import { readSpawnEvents, type SpawnEvent } from './spawn-events.ts'

/** Longer than hubs are set to wait for a start or a stop (10 s by default) before they answer 202. */
const CALL_SECONDS = 60
const MAX_BYTES = 8 * 1024 * 1024
const PAGE_USERS = 200

const problem = z.object({ message: z.string() })
const mintedToken = z.object({ id: z.string(), token: z.string().min(1) })
const server = z.object({
  ready: z.boolean(),
  pending: z.string().nullable(),
  last_activity: z.iso.datetime({ offset: true }).nullish(),
})
const userModel = z.object({ name: z.string(), servers: z.record(z.string(), server).default({}) })
const userList = z.array(z.object({ name: z.string() }))

export type MintedToken = z.infer<typeof mintedToken>

/** A server that runs, starts or stops. */
export interface HubServer {
  readonly ready: boolean
  /** `spawn`, `stop` or `check`. */
  readonly pending: string | null
  /** Epoch seconds. */
  readonly lastActivity: number | undefined
}

/** The hub took the order, or said why not. */
export type StartAnswer = { readonly accepted: true } | { readonly accepted: false; readonly words: string }

export type HubClient = ReturnType<typeof createHubClient>

/**
 * The calls of the hub’s REST API that we need, all about users that are ours and their default servers.
 *
 * All throw a `GatewayError`: 503 `hub_unavailable` or `hub_busy`, 502 `hub_refused`, `hub_malformed` or `hub_unexpected`.
 *
 * @param apiUrl without a slash at its end
 */
export function createHubClient({ apiUrl, token, outbound }: { apiUrl: string; token: Secret; outbound: Outbound }) {
  const authorization = { authorization: `token ${token.reveal()}` }

  /** One call; `expected` are the statuses it is documented to have. */
  async function call(method: string, path: string, expected: readonly number[], body?: unknown) {
    const json = body === undefined ? {} : { body: JSON.stringify(body) }
    const headers = { ...authorization, accept: 'application/json', 'content-type': 'application/json' }
    const limits = { timeoutSeconds: CALL_SECONDS, maxBytes: MAX_BYTES, operatorNamed: true }
    const answer = await outbound.request(apiUrl + path, { method, headers, ...json }, limits).catch((error) => {
      throw asHubError(error)
    })
    const text = answer.body.toString('utf8')
    if (expected.includes(answer.status)) return { status: answer.status, text }
    throw hubRefusal({ ...answer, call: `${method} ${path}`, words: wordsOf(text) })
  }

  return {
    /** Makes the user unless there is one already. */
    async ensureUser(name: string): Promise<void> {
      await call('POST', `/users/${name}`, [201, 409])
    },

    /** Orders a start. What becomes of it is told by `progress`, also when it failed at once. */
    async startServer(name: string, userOptions: unknown): Promise<StartAnswer> {
      const { status, text } = await call('POST', `/users/${name}/server`, [201, 202, 400, 500], userOptions)
      return status < 400 ? { accepted: true } : { accepted: false, words: wordsOf(text) }
    },

    /** How a start goes; nothing when the server is neither starting nor ready. Leaving the loop ends the connection. */
    async *progress(name: string, signal: AbortSignal): AsyncGenerator<SpawnEvent> {
      const headers = { ...authorization, accept: 'text/event-stream' }
      const path = `/users/${name}/server/progress`
      try {
        const answer = await outbound.stream(apiUrl + path, { headers, signal }, { operatorNamed: true })
        if (answer.status === 200) return yield* readSpawnEvents(answer.body)
        const words = wordsOf(Buffer.concat(await Array.fromAsync(answer.body)).toString('utf8'))
        if (answer.status !== 400 && answer.status !== 404) throw hubRefusal({ ...answer, call: `GET ${path}`, words })
      } catch (error) {
        throw asHubError(error)
      }
    },

    /** The user’s server, unless it is stopped (or there is no such user). */
    async findServer(name: string): Promise<HubServer | undefined> {
      const { status, text } = await call('GET', `/users/${name}`, [200, 404])
      const found = status === 200 ? parse(userModel, text).servers[''] : undefined
      if (found === undefined) return undefined
      const { ready, pending, last_activity: lastActivity } = found
      return { ready, pending, lastActivity: lastActivity ? Date.parse(lastActivity) / 1000 : undefined }
    },

    /** A token of the user that can do one thing: reach this one server. */
    async mintToken(name: string, expiresInSeconds: number): Promise<MintedToken> {
      const scopes = [`access:servers!server=${name}/`]
      const order = { note: 'ocm-webapp-gateway', expires_in: Math.floor(expiresInSeconds), scopes }
      return parse(mintedToken, (await call('POST', `/users/${name}/tokens`, [201], order)).text)
    },

    /** Also when it is gone already. A single-user server may go on accepting it for five minutes. */
    async deleteToken(name: string, id: string): Promise<void> {
      await call('DELETE', `/users/${name}/tokens/${encodeURIComponent(id)}`, [204, 404])
    },

    /** `pending`: it is stopping, or something else goes on with it that has to end first; ask again. */
    async stopServer(name: string): Promise<'stopped' | 'pending'> {
      const { status } = await call('DELETE', `/users/${name}/server`, [202, 204, 400, 404])
      return status === 204 || status === 404 ? 'stopped' : 'pending'
    },

    /** `pending`: the hub still knows a server of this user; ask again. */
    async deleteUser(name: string): Promise<'deleted' | 'pending'> {
      const { status } = await call('DELETE', `/users/${name}`, [204, 400, 404, 500])
      return status === 204 || status === 404 ? 'deleted' : 'pending'
    },

    /** Names of all users that may be ours, page by page: a hub gives no more than a page at once. */
    async listUsers(): Promise<string[]> {
      const names: string[] = []
      for (let offset = 0; ; ) {
        const path = `/users?name_filter=${HUB_USER_PREFIX}&offset=${offset}&limit=${PAGE_USERS}`
        const page = parse(userList, (await call('GET', path, [200])).text)
        if (page.length === 0) return names
        names.push(...page.map(({ name }) => name))
        offset += page.length
      }
    },
  }
}

function parse<Schema extends z.ZodType>(schema: Schema, text: string): z.infer<Schema> {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw hubMalformed('an answer of another form', cause)
  }
}

/** What the hub says about a refusal. */
function wordsOf(text: string): string {
  return problem.safeParse(asJson(text)).data?.message ?? ''
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function asHubError(error: unknown): unknown {
  return error instanceof OutboundError ? hubUnavailable(error) : error
}
