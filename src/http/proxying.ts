import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { AppRequest, Intervention } from '../apps/app.ts'
import { templateHeaders } from '../apps/headers.ts'
import { forbidden, type GatewayError, tooLarge, unavailable } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { asking, type Tracing } from '../core/tracing.ts'
import { createUpstream } from '../proxy/forward.ts'
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
    credentials: Readonly<Record<string, string>>,
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
    connection.once('close', remove)
    return remove
  }

  /** What goes over this connection from now on counts for the session. A short body may have come with the headers. */
  function meter(session: Session, { socket, headers }: IncomingMessage, connection: ServerResponse | Duplex): void {
    const { bytesRead, bytesWritten } = socket
    connection.once('close', () => {
      const bytesIn = Math.max(socket.bytesRead - bytesRead, Number(headers['content-length'] ?? 0))
      traffic.count(session, { bytesIn, bytesOut: socket.bytesWritten - bytesWritten })
    })
  }

  async function forward(
    req: IncomingMessage,
    res: ServerResponse,
    context: AppRequestContext,
    authenticated: Authenticated,
    intervene?: () => Promise<Intervention> | undefined,
  ): Promise<void> {
    const { session } = authenticated
    const credentials = session === undefined ? {} : await app.credentials(session)
    if (credentials === undefined) return startFirst(req, res, context.scope)
    const intervention = await intervene?.()
    const { method = req.method ?? '', body } = intervention ?? {}
    let status: number | undefined
    try {
      if (res.closed) return
      const startedAt = performance.now()
      const canRestart = app.lost !== undefined && session !== undefined && isNavigation(req)
      status = await asking(tracing, { name: `${method} ${webapp.name}`, 'ocm.webapp': webapp.name }, (traced) => {
        const rules = rulesFor(req, context, authenticated, { ...credentials, ...traced }, intervention)
        const answer = (raw: readonly string[]) => {
          const headers = rules.responseHeaders(raw)
          return canRestart ? orStartedAgain(session, headers) : headers
        }
        const forwarding = { ...rules, method, responseHeaders: answer, ...(body && { body }) }
        return upstream.request(req, res, forwarding)
      })
      events.proxied({ webapp: webapp.name, code: status, seconds: (performance.now() - startedAt) / 1000 })
    } finally {
      intervention?.answered?.(status)
    }
  }

  function interveneIn(req: IncomingMessage, session: Session, request: AppRequest, { path, query }: Target) {
    const inspected = { ...request, rawPath: path, query, headers: req.headers }
    return () => app.intervene?.(session, inspected, (maxBytes) => readBody(req, maxBytes))
  }

  return {
    site,

    /** A plain request into a scope. @throws {GatewayError} */
    async request(req: IncomingMessage, res: ServerResponse, context: AppRequestContext): Promise<void> {
      const authenticated = await authenticate(req, site, context.scope, context.target)
      const { session, ended } = authenticated
      if (session === undefined) return this.withoutSession(req, res, context, ended)
      endWith(session, res)
      const request = authorize(req, session, context.target, false)
      await sessions.used(session)
      meter(session, req, res)
      await forward(
        req,
        res,
        context,
        authenticated,
        app.intervene && interveneIn(req, session, request, context.target),
      )
    },

    /** A request that no session covers: static assets, else the way out. @throws {GatewayError} 401 */
    async withoutSession(
      req: IncomingMessage,
      res: ServerResponse,
      context: AppRequestContext,
      ended?: Authenticated['ended'],
    ): Promise<void> {
      const reading = req.method === 'GET' || req.method === 'HEAD'
      if (reading && app.isPublic(context.target.path)) return forward(req, res, context, NOBODY)
      const remainder = ended ?? (await authenticate(req, site, undefined)).ended
      if (!isNavigation(req)) throw noSession(remainder)
      res.writeHead(303, { location: exitOf(site, remainder), 'cache-control': 'no-store' }).end()
    },

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
          meter(session, req, socket)
          events.webSocketOpened({ webapp: webapp.name })
          socket.once('close', () => events.webSocketClosed({ webapp: webapp.name }))
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
      await app.host.handle(req, res, { ...target, requestId, endWith: (idHash) => endWith({ idHash }, res) })
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
