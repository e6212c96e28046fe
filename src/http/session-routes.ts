import type { Request, RequestHandler, Response } from 'express'
import { asGatewayError, type GatewayError, notFound, unauthorized } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { clearCookie, cookieName } from '../sessions/cookie.ts'
import type { Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Authenticate, Authenticated } from './authenticate.ts'
import { contextOf, decisionOf } from './context.ts'
import { checkSameOrigin, isNavigation } from './cross-site.ts'
import { endingOf, expiredPage } from './pages/message-page.ts'
import { startingPage } from './pages/starting-page.ts'
import { statusPage } from './pages/status-page.ts'
import type { Site } from './places.ts'
import { sendAnswer, sendJson, sendPage } from './send.ts'

const KEEPALIVE_MS = 10_000

export interface SessionRouteParts {
  readonly authenticate: Authenticate
  readonly sessions: Sessions
  readonly cookiePrefix: string
  readonly events: Events
}

/** The pages and endpoints of one session, below `S.ocm/`, and the page that an ended one lands on. */
export function createSessionRoutes({ authenticate, sessions, cookiePrefix, events }: SessionRouteParts) {
  async function enter(req: Request): Promise<Authenticated & { site: Site }> {
    const context = contextOf(req)
    const { site, scope } = context.place
    if (site === undefined) throw notFound('no_such_page', 'There is nothing at this address.')
    const authenticated = await authenticate(req, site, scope)
    const holder = authenticated.session ?? authenticated.ended
    if (holder !== undefined)
      Object.assign(context, { frameAncestors: holder.frameAncestors, returnUri: holder.returnUri })
    return { ...authenticated, site }
  }

  const session: RequestHandler = async (req, res) => {
    const { session, ended, site } = await enter(req)
    if (session === undefined) throw noSession(ended)
    sendJson(res, 200, { ...(await site.app.describe?.(session)), ...describe(session) })
  }

  /** For people: whether what they did is saved. */
  const status: RequestHandler = async (req, res) => {
    const { session, ended, site } = await enter(req)
    if (session === undefined) return leave(req, res, site, ended)
    const { content } = (await site.app.describe?.(session)) ?? {}
    sendPage(res, 200, statusPage(session, content, contextOf(req).requestId))
  }

  const starting: RequestHandler = async (req, res) => {
    const { session, ended, site } = await enter(req)
    if (session === undefined) return leave(req, res, site, ended)
    const location = await site.app.ready(session)
    if (location !== undefined) return void res.redirect(303, location)
    sendPage(res, 200, startingPage(session, contextOf(req).requestId))
  }

  /** Server-sent events: `progress`, then `ready` or `failed`; `ended` when the session ends meanwhile. */
  const startingEvents: RequestHandler = async (req, res) => {
    const { session, ended, site } = await enter(req)
    if (session === undefined) throw noSession(ended)
    const send = (event: string, data: unknown) => void res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
    const keepalive = setInterval(() => res.write(': waiting\n\n'), KEEPALIVE_MS)
    // Also when the client leaves before the start is over.
    res.once('close', () => clearInterval(keepalive))
    try {
      const location = await site.app.prepare(session, (progress) => send('progress', progress))
      send('ready', { location })
    } catch (error) {
      const { session: live } = await enter(req)
      if (live === undefined) send('ended', {})
      else send('failed', reportFailure(req, live, asGatewayError(error)))
    } finally {
      res.end()
    }
  }

  /** The request number that people are shown leads to the reason in the log. */
  function reportFailure(req: Request, { grant }: Session, error: GatewayError) {
    const { requestId } = contextOf(req)
    const { senderDomain, shareId } = grant
    const { reason, status, message, detail, cause } = error
    if (status === 500) events.unexpected({ requestId, where: 'starting', err: cause ?? error })
    const decision = { ...decisionOf(contextOf(req)), senderDomain, shareId }
    events.requestRefused({ ...decision, method: req.method, reason, status, message, detail })
    return { message, requestId }
  }

  const logout: RequestHandler = async (req, res) => {
    const { session, site } = await enter(req)
    checkSameOrigin(req, site.origin, false)
    if (session !== undefined) {
      await sessions.end(session, 'logout')
      res.append('set-cookie', clearCookie(cookieName(cookiePrefix, session.webapp, session.grant), session.scope))
    }
    res.set('cache-control', 'no-store')
    const back = contextOf(req).returnUri
    if (req.headers['sec-fetch-mode'] === 'navigate' && back !== undefined) return void res.redirect(303, back)
    res.status(204).end()
  }

  const expired: RequestHandler = (req, res) => {
    const { requestId, target } = contextOf(req)
    const reason = new URLSearchParams(target.query).get('reason') ?? undefined
    sendPage(res, 401, expiredPage(reason, { requestId, returnUri: undefined, frameAncestors: ['*'] }))
  }

  /** What the kind itself answers below `S.ocm/`. */
  const answer: RequestHandler = async (req, res) => {
    const { session, ended, site } = await enter(req)
    if (session === undefined) return leave(req, res, site, ended)
    const { place } = contextOf(req)
    const found = await site.app.answer?.(session, place.suffix ?? '')
    if (found === undefined) throw notFound('no_such_page', 'There is nothing at this address.')
    await sendAnswer(res, found, session.frameAncestors)
  }

  return { session, status, starting, startingEvents, logout, expired, answer }
}

/** Where a request without a session goes: back to the Receiving Server while the way is known, else to the page that says so. */
function leave(req: Request, res: Response, site: Site, ended: Authenticated['ended']): void {
  if (!isNavigation(req)) throw noSession(ended)
  res.set('cache-control', 'no-store').redirect(303, exitOf(site, ended))
}

export function exitOf({ base }: Site, ended: Authenticated['ended']): string {
  return ended?.returnUri ?? `${base}.ocm/expired${ended === undefined ? '' : `?reason=${ended.reason}`}`
}

/** Programs that go on in a page after its session, such as a notebook that saves itself, show people these words. */
export function noSession(ended: Authenticated['ended']): GatewayError {
  const { heading, text } = endingOf(ended?.reason)
  return unauthorized('no_session', `${heading}. ${text}`)
}

function describe({ webapp, grant, expiresAt }: Session) {
  const { user, owner, senderDomain, shareId, share, permissions, mode } = grant
  return {
    webapp,
    user,
    owner,
    senderDomain,
    share: { id: shareId, name: share.name, resourceType: share.resourceType },
    permissions,
    mode,
    expiresAt: Math.floor(expiresAt),
    requirements: share.webapp.requirements,
  }
}
