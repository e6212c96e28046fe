import { isDeepStrictEqual } from 'node:util'
import type { Request, RequestHandler, Response } from 'express'
import { type App, unwatched } from '../apps/app.ts'
import { serves } from '../apps/matching.ts'
import { badRequest, gone, invalidToken, notFound, unavailable, unsupportedMediaType } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { decodePath } from '../proxy/target.ts'
import type { Resources } from '../resources/resources.ts'
import { cookieName, setCookie, splitCookies } from '../sessions/cookie.ts'
import { partyOf, type Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Grant, Grants } from '../shares/grant.ts'
import type { VerifiedCredential } from '../trust/credentials/credential.ts'
import type { Credentials } from '../trust/credentials/registry.ts'
import type { Pairings } from '../trust/pairings.ts'
import { networkOf } from './client.ts'
import { contextOf, decisionOf, type RequestContext } from './context.ts'
import { launchPage } from './pages/message-page.ts'
import type { Site } from './places.ts'
import type { RateLimits } from './rate-limits.ts'
import { frameAncestorsOf, isReceiverUri, type Receiver, receiverOf } from './receiver.ts'
import { sendPage } from './send.ts'

const TTL_TOLERANCE_SECONDS = 300
const MAX_SUFFIX = 4096
const MAX_QUERY = 4096

export interface LaunchParts {
  readonly credentials: Credentials
  readonly pairings: Pairings
  readonly grants: Grants
  readonly resources: Resources
  readonly sessions: Sessions
  readonly rateLimits: RateLimits
  readonly events: Events
  readonly sites: readonly Site[]
  readonly settings: {
    readonly cookiePrefix: string
    readonly insecureLoopback: boolean
    readonly failuresPerMinute: number
  }
}

/** The fields of the launch form (OCM-IP, front channel). */
interface LaunchForm {
  readonly accessToken: string
  readonly ttl: string | undefined
  readonly returnUri: string | undefined
}

/** `GET` of the launch URL: what receivers do when a share has no secret. */
export const visitLaunch: RequestHandler = (req, res) => {
  const context = contextOf(req)
  refuseQueryToken(context)
  const { requestId, frameAncestors } = context
  sendPage(res, 200, launchPage({ requestId, returnUri: undefined, frameAncestors }))
}

/**
 * The launch: form → credential → grant → session → 303. The credential is the token itself, so neither `Origin` nor
 * `Referer` is asked for.
 */
export function createLaunch({
  credentials,
  pairings,
  grants,
  resources,
  sessions,
  rateLimits,
  events,
  sites,
  settings,
}: LaunchParts): RequestHandler {
  async function verified(context: RequestContext, { app }: Site, token: string): Promise<VerifiedCredential> {
    const client = networkOf(context.client.address)
    try {
      return await credentials.verify(token, pairings.of(app.webapp.ocmServers), client)
    } catch (error) {
      rateLimits.take(`address ${client}`, settings.failuresPerMinute)
      throw error
    }
  }

  function returnUriOf({ returnUri }: LaunchForm, receiver: Receiver, context: RequestContext): string | undefined {
    if (returnUri === undefined) return undefined
    if (isReceiverUri(returnUri, receiver)) return returnUri
    events.returnUriIgnored({ ...decisionOf(context), reason: 'not_receiver' })
    return undefined
  }

  async function openSession(
    req: Request,
    site: Site,
    grant: Grant,
    opening: { returnUri: string | undefined; receiver: Receiver; suffix: string; query: string },
    limit: number,
  ) {
    const { app } = site
    const presented = splitCookies(req.headers.cookie, settings.cookiePrefix).ours
    const name = cookieName(settings.cookiePrefix, app.webapp.name, grant)
    const dest = req.headers['sec-fetch-dest']
    return sessions.open({
      grant,
      webapp: app.webapp.name,
      scope: app.scopeFor(grant),
      returnUri: opening.returnUri,
      framed: dest === undefined || dest === 'iframe' || dest === 'frame',
      frameAncestors: frameAncestorsOf(opening.receiver, grant.share),
      suffix: opening.suffix,
      query: opening.query,
      presented: presented.filter((cookie) => cookie.name === name).map(({ idHash }) => idHash),
      limit,
    })
  }

  /** A revocation that came while the session was being opened did not see it: what holds now decides. */
  async function confirm(session: Session, credential: VerifiedCredential): Promise<void> {
    try {
      const { permissions, share } = await grants.of(credential)
      const same = isDeepStrictEqual(
        { permissions, share },
        { permissions: session.grant.permissions, share: session.grant.share },
      )
      if (!same)
        throw unavailable('share_changing', 'The share was changed this very moment. Open it again.', {
          retryAfterSeconds: 1,
        })
    } catch (error) {
      await sessions.end(session, 'replaced')
      throw error
    }
  }

  return async (req: Request, res: Response) => {
    const context = contextOf(req)
    const site = siteOf(context)
    refuseQueryToken(context)
    const suffix = readSuffix(context.place.suffix ?? '')
    const form = readForm(req)
    const credential = await verified(context, site, form.accessToken)
    const { pairing } = credential
    const receiver = receiverOf(credential.aud, pairing, settings.insecureLoopback)
    Object.assign(context, {
      senderDomain: pairing.domain,
      shareId: credential.clientId,
      user: credential.aud,
      frameAncestors: receiver.origins,
    })
    rateLimits.take(`launches ${pairing.domain}`, pairing.limits.requestsPerMinute)
    checkTtl(form.ttl, credential.exp)
    context.returnUri = returnUriOf(form, receiver, context)
    if (!serves(site.app.webapp, pairing.domain)) {
      throw invalidToken('issuer_not_paired', `This application does not serve shares of ${pairing.domain}.`)
    }
    const grant = await grants.of(credential)
    checkBelongs(grant, site, sites)
    if (site.app.usesResource) await resources.keepToken(grant, credential.token)
    const { session, cookieValue } = await openSession(
      req,
      site,
      grant,
      { returnUri: context.returnUri, receiver, suffix, query: readQuery(context) },
      pairing.limits.sessions,
    )
    await confirm(session, credential)
    const location = await firstLocation(site.app, session, sessions)
    if (cookieValue !== undefined) {
      res.append(
        'set-cookie',
        setCookie(cookieName(settings.cookiePrefix, session.webapp, grant), cookieValue, session.scope),
      )
    }
    res.set({ location, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' }).status(303).end()
    events.launchAccepted({
      ...decisionOf(context),
      ...partyOf(session),
      mode: grant.mode,
      renewed: cookieValue === undefined,
      permissions: grant.permissions,
      requirements: grant.share.webapp.requirements,
    })
  }
}

/** The app’s page when it is ready, else the starting page while it is being started. */
async function firstLocation(app: App, session: Session, sessions: Sessions): Promise<string> {
  const location = await app.ready(session)
  if (location !== undefined) return location
  // The app may have taken its time to answer: nothing is started for a session that ended meanwhile.
  if (!(await sessions.isLive(session))) throw gone('share_closed', 'The share was closed while it was being opened.')
  // The starting page joins this start, or begins it anew when it failed meanwhile.
  app.prepare(session, unwatched).catch(() => {})
  return `${session.scope}.ocm/starting`
}

function siteOf({ place }: RequestContext): Site {
  if (place.site === undefined) throw new Error('a launch without a site')
  return place.site
}

function refuseQueryToken({ target }: RequestContext): void {
  if (!/[?&]access_token(=|&|$)/i.test(target.query)) return
  throw badRequest('token_in_query', 'An access token must not be in the address; it is sent as a form field (POST).')
}

/** The path below the launch URL, decoded once: a hint of which file to open. */
function readSuffix(raw: string): string {
  const decoded = raw.length > MAX_SUFFIX ? '..' : decodePath(raw)
  const suffix = decoded.endsWith('/') ? decoded.slice(0, -1) : decoded
  const segments = suffix.split('/')
  const bad = /%2f|%5c/i.test(raw) || suffix.includes('\\') || /[\0-\x1f\x7f]/.test(suffix)
  if (bad || segments.includes('..') || segments.includes('.') || (suffix !== '' && segments.includes(''))) {
    throw badRequest('suffix_malformed', 'The path behind the launch address is not a plain relative path.')
  }
  return suffix
}

/** As the sender put it into the launch URL. Longer than any URL that it may hold, and nothing is kept of it. */
function readQuery({ target }: RequestContext): string {
  return target.query.length <= MAX_QUERY ? target.query : ''
}

function readForm(req: Request): LaunchForm {
  if (!/^application\/x-www-form-urlencoded\s*(;|$)/i.test(req.headers['content-type'] ?? '')) {
    throw unsupportedMediaType(
      'form_expected',
      'A launch is a form: POST with Content-Type application/x-www-form-urlencoded.',
    )
  }
  const fields = new URLSearchParams(String(req.body ?? ''))
  const once = (name: string): string | undefined => {
    const values = fields.getAll(name)
    if (values.length > 1) throw badRequest('field_repeated', `The form field ${name} was sent more than once.`)
    return values[0]
  }
  const [current, older] = [once('expired_session_redirect_uri'), once('redirect_uri')]
  const form = { accessToken: once('access_token') ?? '', ttl: once('access_token_ttl'), returnUri: current ?? older }
  if (form.accessToken === '') throw badRequest('field_missing', 'The form field access_token is missing.')
  return form
}

/** `access_token_ttl` is an instant in epoch milliseconds, despite its name. */
function checkTtl(ttl: string | undefined, exp: number): void {
  if (ttl === undefined) return
  const agrees = /^\d{1,16}$/.test(ttl) && Math.abs(Number(ttl) / 1000 - exp) <= TTL_TOLERANCE_SECONDS
  if (!agrees)
    throw invalidToken('ttl_mismatch', 'access_token_ttl (epoch milliseconds) does not agree with the token’s exp.')
}

/** A share opens in the app that its `webapp.uri` names; where that says nothing, the app’s `match` rules decide. */
function checkBelongs({ share }: Grant, site: Site, sites: readonly Site[]): void {
  const uri = share.webapp.uri
  const named = uri !== undefined && URL.canParse(uri) ? siteAt(new URL(uri), sites) : undefined
  if (named === undefined ? site.app.accepts(share) : named === site) return
  throw notFound('wrong_webapp', 'This share belongs to another application.')
}

function siteAt({ origin, pathname }: URL, sites: readonly Site[]): Site | undefined {
  return sites.find(
    ({ origin: own, base, app }) =>
      own === origin &&
      (`${pathname}/`.startsWith(base) ||
        app.webapp.launchAliases.some((alias) => `${pathname}/`.startsWith(`${alias}/`))),
  )
}
