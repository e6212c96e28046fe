import type { IncomingMessage, ServerResponse } from 'node:http'
import { close, listen } from '../../../../src/demo/listen.ts'

interface FakeServer {
  state: 'spawn' | 'ready'
  readonly userOptions: unknown
  /** Epoch seconds. */
  lastActivity: number
  readonly followers: Set<ServerResponse>
}

interface FakeUser {
  server: FakeServer | undefined
  /** Why the last start failed. */
  failure: string | undefined
  readonly tokens: Map<
    string,
    { readonly token: string; readonly scopes: readonly string[]; readonly expiresIn: number }
  >
}

interface Call {
  readonly method: string
  /** Below the API, without the query. */
  readonly path: string
  readonly body: unknown
}

interface Answer {
  readonly status: number
  readonly body?: string | object
}

export const SERVICE_TOKEN = 'service-token-0123456789abcdef'

/**
 * The part of JupyterHub’s REST API that the gateway uses, with the status codes that were measured on a real hub; it
 * keeps users, servers and tokens, and can be told to answer something else once. `settings.holdStarts`: starts go on until
 * they are ended; `holdAnswers`: the order of a start is answered only then, as hubs do for ten seconds.
 */
export async function startFakeHub(basePath = '/jupyter/') {
  const users = new Map<string, FakeUser>()
  const calls: Call[] = []
  const once = new Map<string, Answer[]>()
  const settings = { holdStarts: false, holdAnswers: false, urlPrefix: basePath, now: () => 0 }
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  let minted = 0

  function dispatch(call: Call, req: IncomingMessage): Answer | FakeServer {
    const planned = once.get(`${call.method} ${call.path}`)?.shift()
    if (planned !== undefined) return planned
    if (req.headers.authorization !== `token ${SERVICE_TOKEN}`) return problem(403, 'Missing or invalid credentials.')
    const [, list, name, what, id] = call.path.split('/')
    if (list !== 'users') return problem(404, 'Not Found')
    if (name === undefined) return listUsers(new URL(req.url ?? '', 'http://hub').searchParams)
    if (what === undefined) return userCall(call.method, name)
    const user = users.get(name)
    if (what === 'tokens')
      return user ? tokenCall(call, user, id) : problem(call.method === 'POST' ? 403 : 404, 'no such user')
    if (user === undefined) return problem(404, 'Not Found')
    return id === 'progress' ? progressCall(name, user) : serverCall(call, name, user)
  }

  function listUsers(query: URLSearchParams): Answer {
    const [offset, limit] = [Number(query.get('offset')), Math.min(Number(query.get('limit')), 2)]
    return { status: 200, body: [...users].slice(offset, offset + limit).map(([name, user]) => model(name, user)) }
  }

  function userCall(method: string, name: string): Answer {
    const user = users.get(name)
    if (method === 'POST') {
      if (user !== undefined) return problem(409, `User ${name} already exists`)
      const made = { server: undefined, failure: undefined, tokens: new Map() }
      users.set(name, made)
      return { status: 201, body: model(name, made) }
    }
    if (user === undefined) return problem(404, 'Not Found')
    if (method === 'GET') return { status: 200, body: model(name, user) }
    if (user.server !== undefined) return problem(500, 'Spawner is active and cannot be deleted')
    users.delete(name)
    return { status: 204 }
  }

  function serverCall({ method, body }: Call, name: string, user: FakeUser): Answer {
    if (method === 'DELETE') {
      if (user.server?.state === 'spawn') return problem(400, `${name} is pending spawn, please wait`)
      user.server = undefined
      return { status: 204 }
    }
    if (user.server?.state === 'ready') return problem(400, `${name} is already running`)
    if (user.server?.state === 'spawn') return { status: 202 }
    user.failure = undefined
    user.server = { state: 'spawn', userOptions: body, lastActivity: settings.now(), followers: new Set() }
    if (settings.holdStarts) return { status: 202 }
    user.server.state = 'ready'
    return { status: 201 }
  }

  function progressCall(name: string, { server, failure }: FakeUser): Answer | FakeServer {
    if (server?.state === 'spawn') return server
    if (server?.state === 'ready') return { status: 200, body: sse(readyEvent(name)) }
    return failure === undefined
      ? problem(400, `${name} is not starting...`)
      : { status: 200, body: sse(failedEvent(failure)) }
  }

  function tokenCall({ method, body }: Call, user: FakeUser, id = ''): Answer {
    if (method === 'DELETE') return user.tokens.delete(id) ? { status: 204 } : problem(404, `No such token ${id}`)
    const { scopes = [], expires_in: expiresIn } = body as { scopes?: string[]; expires_in?: number }
    if (!Number.isInteger(expiresIn) || Number(expiresIn) <= 0)
      return problem(400, 'token expires_in must be an integer')
    minted += 1
    const made = { token: `minted-${minted}-0123456789abcdef`, scopes, expiresIn: Number(expiresIn) }
    user.tokens.set(`a${minted}`, made)
    return { status: 201, body: { id: `a${minted}`, token: made.token, scopes } }
  }

  const readyEvent = (name: string) => ({
    progress: 100,
    ready: true,
    message: 'Server ready',
    url: `${settings.urlPrefix}user/${name}/`,
  })

  const { server, port } = await listen((req, res) => void answer(req, res), 0)

  async function answer(req: IncomingMessage, res: ServerResponse) {
    const text = Buffer.concat(await Array.fromAsync(req)).toString('utf8')
    const path = new URL(req.url ?? '', 'http://hub').pathname.slice(`${basePath}hub/api`.length)
    const call = { method: req.method ?? '', path, body: text === '' ? undefined : JSON.parse(text) }
    calls.push(call)
    const given = dispatch(call, req)
    if (settings.holdAnswers && /^POST .*\/server$/.test(`${call.method} ${path}`)) await ended
    if (!('state' in given)) return void res.writeHead(given.status).end(textOf(given.body))
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write(
      `${sse({ progress: 0, message: 'Server requested' })}\n\n${sse({ progress: 50, message: 'Spawning server...' })}`,
    )
    given.followers.add(res)
    res.once('close', () => given.followers.delete(res))
  }

  function endSpawn(name: string, event: object): FakeUser {
    const user = users.get(name)
    if (user?.server?.state !== 'spawn') throw new Error(`${name} is not being spawned`)
    for (const follower of user.server.followers) follower.end(sse(event))
    end()
    return user
  }

  return {
    url: `http://127.0.0.1:${port}${basePath}`,
    users,
    calls,
    settings,

    /** The method and path of every call, in order. */
    said: (): string[] => calls.map(({ method, path }) => `${method} ${path}`),

    /** Answers this call with something else, once; repeated plans are used one after the other. */
    plan(call: string, ...answers: Answer[]) {
      once.set(call, [...(once.get(call) ?? []), ...answers])
    },

    finishStart(name: string) {
      const { server: started } = endSpawn(name, readyEvent(name))
      if (started !== undefined) started.state = 'ready'
    },

    failStart(name: string, words: string) {
      const user = endSpawn(name, failedEvent(words))
      Object.assign(user, { server: undefined, failure: words })
    },

    close: () => close(server),
  }
}

const failedEvent = (words: string) => ({ progress: 100, failed: true, message: `Spawn failed: ${words}` })

const sse = (event: object) => `data: ${JSON.stringify(event)}\n\n`

function problem(status: number, message: string): Answer {
  return { status, body: { status, message } }
}

function textOf(body: Answer['body']): string {
  return typeof body === 'object' ? JSON.stringify(body) : (body ?? '')
}

/** A user has servers that run, start or stop; one that failed leaves no trace. */
function model(name: string, { server }: FakeUser) {
  const pending = server?.state === 'spawn' ? 'spawn' : null
  const lastActivity = new Date((server?.lastActivity ?? 0) * 1000).toISOString()
  const known = server && { '': { name: '', ready: pending === null, pending, last_activity: lastActivity } }
  return { kind: 'user', name, admin: false, servers: known ?? {} }
}
