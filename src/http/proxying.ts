import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { templateHeaders } from '../apps/headers.ts'
import { forbidden, type GatewayError, unavailable } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { createUpstream } from '../proxy/forward.ts'
import { requestHeaders } from '../proxy/request-headers.ts'
import { responseHeaders } from '../proxy/response-headers.ts'
import { decodePath, dropQueryParameters, type Target } from '../proxy/target.ts'
import { createWebSocketUpstream } from '../proxy/websocket.ts'
import type { LiveConnections } from '../sessions/live-connections.ts'
import type { Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
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
  readonly events: Events
  readonly cookiePrefix: string
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
export function createProxying(site: Site, { authenticate, sessions, live, events, cookiePrefix }: ProxyingParts) {
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

  /** The one authorisation of plain requests and WebSockets. @throws {GatewayError} 403 */
  function authorize(req: IncomingMessage, session: Session, { path }: Target, upgrade: boolean): void {
    checkSameOrigin(req, origin, upgrade)
    const relative = decodePath(path.slice(session.scope.length))
    const needed = app.authorize(session, { method: req.method ?? '', path: relative, upgrade })
    if (permits(session.grant.permissions, needed)) return
    throw forbidden('permission_missing', `This share does not include the permission to ${needed}.`)
  }

  /** Everything that is forwarded with a request. */
  function rulesFor(
    req: IncomingMessage,
    { client, target, scope }: AppRequestContext,
    { session, appCookies }: Authenticated,
    credentials: Readonly<Record<string, string>>,
  ) {
    const mount = app.mount(scope)
    const prefix = (mount.public === mount.upstream ? base : mount.public).slice(0, -1)
    const added =
      hasTemplates && session !== undefined
        ? { ...lowerCased(templateHeaders(webapp, session)), ...credentials }
        : credentials
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

  /** From now on the end of the session cuts this connection, whatever it is waiting for. */
  function endWith({ idHash }: Session, connection: ServerResponse | Duplex): void {
    if (connection.closed) return
    connection.once(
      'close',
      live.add(idHash, () => void connection.destroy()),
    )
  }

  async function forward(
    req: IncomingMessage,
    res: ServerResponse,
    context: AppRequestContext,
    authenticated: Authenticated,
  ): Promise<void> {
    const { session } = authenticated
    const credentials = session === undefined ? {} : await app.credentials(session)
    if (credentials === undefined) return startFirst(req, res, context.scope)
    if (res.closed) return
    const startedAt = performance.now()
    const status = await upstream.request(req, res, rulesFor(req, context, authenticated, credentials))
    events.proxied({ webapp: webapp.name, code: status, seconds: (performance.now() - startedAt) / 1000 })
  }

  return {
    site,

    /** A plain request into a scope. @throws {GatewayError} */
    async request(req: IncomingMessage, res: ServerResponse, context: AppRequestContext): Promise<void> {
      const authenticated = await authenticate(req, site, context.scope)
      const { session, ended } = authenticated
      if (session === undefined) return this.withoutSession(req, res, context, ended)
      endWith(session, res)
      authorize(req, session, context.target, false)
      await sessions.used(session)
      await forward(req, res, context, authenticated)
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
      const authenticated = await authenticate(req, site, context.scope)
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
        ...rulesFor(req, context, authenticated, credentials),
        onOpen: () => {
          open = true
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

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}
