import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { AppRequest, Intervention } from '../apps/app.ts'
import { templateHeaders } from '../apps/headers.ts'
import { type Awaitable, andThen } from '../core/awaitable.ts'
import { forbidden, type GatewayError, tooLarge, unavailable } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { asking, type Tracing } from '../core/tracing.ts'
import { createUpstream, type Forwarding } from '../proxy/forward.ts'
import { requestHeaders } from '../proxy/request-headers.ts'
import { responseHeaders } from '../proxy/response-headers.ts'
import { decodePath, dropQueryParameters, type Target } from '../proxy/target.ts'
import { createWebSocketUpstream } from '../proxy/websocket.ts'
import type { LiveConnections } from '../sessions/live-connections.ts'
import { partyOf, type Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Traffic } from '../sessions/traffic.ts'
import { permits } from '../shares/permissions.ts'
import type { Authenticate, Authenticated } from './authenticate.ts'
import type { Client } from './client.ts'
import { checkSameOrigin, isNavigation } from './cross-site.ts'
import type { Site } from './places.ts'
import { refuseWith } from './refuse.ts'
import { exitOf, noSession } from './session-routes.ts'

export interface ProxyingParts {
  readonly authenticate: Authenticate
  readonly sessions: Sessions
  readonly live: LiveConnections
  readonly traffic: Traffic
  readonly events: Events
  readonly cookiePrefix: string
  readonly tracing: Tracing | undefined
}

/** A request for an app, as the server found it. */
export interface AppRequestContext {
  readonly requestId: string
  readonly client: Client
  readonly target: Target
  readonly scope: string
}

/** Header lines that the gateway adds. Names lower case. */
type Credentials = Readonly<Record<string, string>>

export type Proxying = ReturnType<typeof createProxying>

const NOBODY: Authenticated = { session: undefined, ended: undefined, appCookies: '' }

/** Requests and WebSockets of one webapp: session → permission → headers → forward. */
export function createProxying(
  site: Site,
  { authenticate, sessions, live, traffic, events, cookiePrefix, tracing }: ProxyingParts,
) {
  const { app, base, origin } = site
  const { webapp, forwarding: policy } = app
  const options = { url: webapp.upstream, timeouts: webapp.timeouts }
  const upstream = createUpstream(options)
  const sockets = createWebSocketUpstream(options)
  const upstreamOrigin = new URL(webapp.upstream).origin
  const plainOrigin = `http://${site.host}`
  const upstreamOrigins = plainOrigin === origin ? [upstreamOrigin] : [upstreamOrigin, plainOrigin]
  const proto = origin.startsWith('https:') ? 'https' : 'http'
  const endedPage = `${base}.ocm/expired`
  const hasTemplates = Object.keys(webapp.headers).length > 0

  /** The one authorisation of plain requests and WebSockets. @returns what was permitted @throws {GatewayError} 403 */
  function authorize(req: IncomingMessage, session: Session, { path }: Target, upgrade: boolean): AppRequest {
    checkSameOrigin(req, origin, upgrade)
    const request = { method: req.method ?? '', path: decodePath(path.slice(session.scope.length)), upgrade }
    const needed = app.authorize(session, request)
    if (permits(session.grant.permissions, needed)) return request
    const detail = { ...partyOf(session) }
    throw forbidden('permission_missing', `This share does not include the permission to ${needed}.`, { detail })
  }

  /** Everything that is forwarded with a request. */
  function rulesFor(
    req: IncomingMessage,
    { client, target, scope }: AppRequestContext,
    { session, appCookies }: Authenticated,
    credentials: Credentials,
    { body, headers, responseHeaders: answered }: Intervention = {},
  ) {
    const mount = app.mount(scope)
    const prefix = (mount.public === mount.upstream ? base : mount.public).slice(0, -1)
    const templates = hasTemplates && session !== undefined ? lowerCased(templateHeaders(webapp, session)) : undefined
    const length = body && { 'content-length': String(body.length) }
    const added = templates || headers || length ? { ...templates, ...headers, ...length, ...credentials } : credentials
    return {
      path:
        mount.upstream + target.path.slice(mount.public.length) + dropQueryParameters(target.query, policy.dropQuery),
      headers: requestHeaders(req.rawHeaders, {
        forwarded: { for: client.chain, proto, host: site.host, prefix },
        cookies: appCookies,
        policy,
        added,
        toUpstream: (url) =>
          url.startsWith(origin + mount.public)
            ? upstreamOrigin + mount.upstream + url.slice((origin + mount.public).length)
            : url,
      }),
      responseHeaders: (raw: readonly string[]) =>
        responseHeaders(raw, {
          policy,
          added: answered,
          mount,
          base,
          upstreamOrigins,
          publicOrigin: origin,
          cookiePrefix,
          frameAncestors: session === undefined ? [] : frameSources(req, session),
          framed: session?.framed ?? false,
          endedPage,
        }),
    }
  }

  /** An app that has lost its user may be started again; where it cannot, the session is over for its browser. */
  function orStartedAgain(session: Session, headers: string[]): string[] | Promise<string[]> {
    const at = headers.indexOf(endedPage)
    if (at === -1 || app.lost === undefined) return headers
    return app.lost(session).then(
      (location) => (location === undefined ? headers : headers.with(at, location)),
      () => headers,
    )
  }

  /** From now on the end of the session cuts this connection, whatever it is waiting for. @returns takes it back */
  function endWith(
    { idHash, grant }: Pick<Session, 'idHash'> & Partial<Session>,
    connection: ServerResponse | Duplex,
  ): () => void {
    if (connection.closed) return () => {}
    const remove = live.add(idHash, () => void connection.destroy(), grant?.permissions)
    connection.on('close', remove)
    return remove
  }

  /**
   * What goes over this connection from now on counts for the session. A short body may have come with the headers.
   *
   * @returns to be called when it is over
   */
  function meter(session: Session, { socket, headers }: IncomingMessage): () => void {
    const { bytesRead, bytesWritten } = socket
    const announced = Number(headers['content-length'] ?? 0)
    return () => {
      const bytesIn = Math.max(socket.bytesRead - bytesRead, announced)
      traffic.count(session, { bytesIn, bytesOut: socket.bytesWritten - bytesWritten })
    }
  }

  /**
   * An admitted request: cut with its session, and counted for it. One listener, since Node copies longer lists for every
   * event.
   */
  function hold(session: Session, req: IncomingMessage, res: ServerResponse): Forwarding['onClose'] {
    if (res.closed) return () => {}
    const remove = live.add(session.idHash, () => void res.destroy(), session.grant.permissions)
    const count = meter(session, req)
    let then: (() => void) | undefined
    res.on('close', () => {
      remove()
      count()
      then?.()
    })
    return (listener) => {
      then = listener
    }
  }

  /** An open WebSocket, for as long as it is: nothing of its handshake is kept. */
  function holdOpen(session: Session, req: IncomingMessage, socket: Duplex): void {
    const count = meter(session, req)
    events.webSocketOpened({ webapp: webapp.name })
    socket.on('close', () => {
      count()
      events.webSocketClosed({ webapp: webapp.name })
    })
  }

  function forward(
    req: IncomingMessage,
    res: ServerResponse,
    context: AppRequestContext,
    authenticated: Authenticated,
    credentials: Credentials,
    onClose: Forwarding['onClose'],
    intervention?: Intervention,
  ): Promise<number | undefined> {
    if (res.closed) return Promise.resolve(undefined)
    const { session } = authenticated
    const { method = req.method ?? '', body } = intervention ?? {}
    const startedAt = performance.now()
    const canRestart = app.lost !== undefined && session !== undefined && isNavigation(req)
    const send = (tracingHeaders?: Credentials) => {
      const all = tracingHeaders === undefined ? credentials : { ...credentials, ...tracingHeaders }
      const rules = rulesFor(req, context, authenticated, all, intervention)
      const responseHeaders = canRestart
        ? (raw: readonly string[]) => orStartedAgain(session, rules.responseHeaders(raw))
        : rules.responseHeaders
      const { path, headers } = rules
      return upstream.request(req, res, { method, body, path, headers, responseHeaders, onClose })
    }
    return traced(method, send).then((code) => {
      events.proxied({ webapp: webapp.name, code, seconds: (performance.now() - startedAt) / 1000 })
      return code
    })
  }

  function traced(method: string, send: (headers?: Credentials) => Promise<number>): Promise<number> {
    if (tracing === undefined) return send()
    return asking(tracing, { name: `${method} ${webapp.name}`, 'ocm.webapp': webapp.name }, send)
  }

  /** A kind that looks at a request hears what became of it, however that was. */
  async function forwardIntervened(
    intervention: Intervention | undefined,
    send: (intervention: Intervention | undefined) => Promise<number | undefined>,
  ): Promise<number | undefined> {
    let status: number | undefined
    try {
      status = await send(intervention)
      return status
    } finally {
      intervention?.answered?.(status)
    }
  }

  function interveneIn(req: IncomingMessage, session: Session, request: AppRequest, { path, query }: Target) {
    if (app.intervene === undefined) return undefined
    const inspected = { ...request, rawPath: path, query, headers: req.headers }
    return app.intervene(session, inspected, (maxBytes) => readBody(req, maxBytes))
  }

  /** Past the door: what is left are the rules of the share and of the app. */
  function admit(
    req: IncomingMessage,
    res: ServerResponse,
    context: AppRequestContext,
    authenticated: Authenticated,
  ): Awaitable<unknown> {
    const { session, ended } = authenticated
    if (session === undefined) return withoutSession(req, res, context, ended)
    const request = authorize(req, session, context.target, false)
    const onClose = hold(session, req, res)
    const used = andThen(sessions.used(session), () => app.credentials(session))
    return andThen(used, (credentials): Awaitable<unknown> => {
      if (credentials === undefined) return startFirst(req, res, context.scope)
      const send = (intervention?: Intervention) =>
        forward(req, res, context, authenticated, credentials, onClose, intervention)
      const intervention = interveneIn(req, session, request, context.target)
      return intervention === undefined ? send() : intervention.then((each) => forwardIntervened(each, send))
    })
  }

  /** A request that no session covers: static assets, else the way out. @throws {GatewayError} 401 */
  async function withoutSession(
    req: IncomingMessage,
    res: ServerResponse,
    context: AppRequestContext,
    ended?: Authenticated['ended'],
  ): Promise<void> {
    const reading = req.method === 'GET' || req.method === 'HEAD'
    if (reading && app.isPublic(context.target.path)) {
      const onClose = (listener: () => void) => void res.on('close', listener)
      return void (await forward(req, res, context, NOBODY, {}, onClose))
    }
    const remainder = ended ?? (await authenticate(req, site, undefined)).ended
    if (!isNavigation(req)) throw noSession(remainder)
    res.writeHead(303, { location: exitOf(site, remainder), 'cache-control': 'no-store' }).end()
  }

  return {
    site,

    /** A plain request into a scope. @throws {GatewayError} */
    request(req: IncomingMessage, res: ServerResponse, context: AppRequestContext): Awaitable<unknown> {
      const authenticated = authenticate(req, site, context.scope, context.target)
      return andThen(authenticated, (known) => admit(req, res, context, known))
    },

    withoutSession,

    /** A WebSocket handshake into a scope. @throws {GatewayError} */
    async upgrade(req: IncomingMessage, socket: Duplex, head: Buffer, context: AppRequestContext): Promise<void> {
      const authenticated = await authenticate(req, site, context.scope, context.target)
      const { session, ended } = authenticated
      if (session === undefined) throw noSession(ended)
      endWith(session, socket)
      authorize(req, session, context.target, true)
      await sessions.used(session)
      const credentials = await app.credentials(session)
      if (credentials === undefined) throw unavailable('app_not_started', 'The application has to be started first.')
      if (socket.destroyed) return
      let open = false
      sockets.upgrade(req, socket, head, {
        ...rulesFor(req, context, authenticated, { ...credentials, ...tracing?.headers() }),
        onOpen: () => {
          open = true
          holdOpen(session, req, socket)
        },
        onFailure: (error) => {
          const { reason, status, message, detail } = error
          events.upstreamFailed({ requestId: context.requestId, webapp: webapp.name, reason, status, message, detail })
          if (open) socket.destroy()
          else if (error.reason !== 'upstream_no_upgrade') refuseWith(socket, error, context.requestId)
        },
      })
    },

    /** A request to the kind’s own host. @throws {GatewayError} */
    async host(req: IncomingMessage, res: ServerResponse, { requestId, target }: Omit<AppRequestContext, 'scope'>) {
      if (app.host === undefined) throw new Error(`${webapp.name} has no host of its own`)
      await app.host.handle(req, res, {
        ...target,
        requestId,
        endWith: (idHash) => endWith({ idHash }, res),
        countFor: (session) => void res.on('close', meter(session, req)),
      })
    },

    close: () => upstream.close(),
  }

  function startFirst(req: IncomingMessage, res: ServerResponse, scope: string): void {
    if (!isNavigation(req)) throw notStarted()
    res.writeHead(303, { location: `${scope}.ocm/starting`, 'cache-control': 'no-store' }).end()
  }
}

function notStarted(): GatewayError {
  return unavailable('app_not_started', 'The application has to be started first. Reload the page.')
}

/** A frame that the app opens within itself has the app’s own origin among its ancestors. */
function frameSources({ headers }: IncomingMessage, { frameAncestors }: Session): readonly string[] {
  const nested = headers['sec-fetch-dest'] === 'iframe' && headers['sec-fetch-site'] === 'same-origin'
  return nested ? ["'self'", ...frameAncestors] : frameAncestors
}

async function readBody(req: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req) {
    size += (chunk as Buffer).length
    if (size > maxBytes) throw tooLarge('body_too_large', `The request’s body is larger than ${maxBytes} bytes.`)
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}
