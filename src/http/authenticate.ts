import type { IncomingMessage } from 'node:http'
import { serves } from '../apps/matching.ts'
import type { Awaitable } from '../core/awaitable.ts'
import { forbidden } from '../core/errors.ts'
import type { Target } from '../proxy/target.ts'
import { createCookieReader, type SplitCookies } from '../sessions/cookie.ts'
import type { Remainder, Session } from '../sessions/session.ts'
import type { Sessions } from '../sessions/sessions.ts'
import type { Pairings } from '../trust/pairings.ts'
import type { Site } from './places.ts'

/** What the door knows of a request: the session it may use, or what is left of one that ended. */
export interface Authenticated {
  readonly session: Session | undefined
  readonly ended: Remainder | undefined
  /** The `Cookie` header less our cookies. */
  readonly appCookies: string
}

export type Authenticate = ReturnType<typeof createAuthenticate>

/** More of our cookies than any browser of one person sends for one path; the rest is not looked at. */
const MAX_COOKIES = 50

/**
 * The one door: a bare request → the live session whose scope the request falls into. Plain requests and WebSocket
 * handshakes go through the same function. Of several sessions in one scope the newest counts; where a kind can tell by the
 * URL whose request it is, the newest of those.
 */
export function createAuthenticate({
  sessions,
  pairings,
  cookiePrefix,
}: {
  sessions: Sessions
  pairings: Pairings
  cookiePrefix: string
}) {
  /** A reload may have unpaired the sender, or taken the webapp from it. */
  function isServed({ grant: { senderDomain } }: Session, { app: { webapp } }: Site): boolean {
    return pairings.find(senderDomain) !== undefined && serves(webapp, senderDomain)
  }

  const readCookies = createCookieReader(cookiePrefix)

  /** The usual case, without asking anybody: one cookie, of a session that was found a moment ago. */
  function atOnce({ app }: Site, scope: string | undefined, candidates: SplitCookies['ours']): Session | undefined {
    const [cookie] = candidates
    if (cookie === undefined || candidates.length > 1 || app.owns !== undefined) return undefined
    const found = sessions.known(cookie.idHash)
    return found?.webapp === app.webapp.name && found.scope === scope ? found : undefined
  }

  async function lookUp(
    site: Site,
    scope: string | undefined,
    target: Target | undefined,
    candidates: SplitCookies['ours'],
  ): Promise<Omit<Authenticated, 'appCookies'>> {
    const { app } = site
    let newest: Session | undefined
    let ended: Remainder | undefined
    let foreign = false
    // Browsers send the oldest first.
    for (const { idHash } of candidates.slice(-MAX_COOKIES)) {
      const found = sessions.known(idHash) ?? (await sessions.find(idHash))
      if (found === undefined) continue
      if (!('grant' in found)) {
        ended = found
        continue
      }
      if (found.webapp !== site.app.webapp.name || found.scope !== scope) continue
      if (newest !== undefined && found.openedAt <= newest.openedAt) continue
      if (!isServed(found, site)) await sessions.end(found, 'unpaired')
      else if (target === undefined || (await app.owns?.(found, target)) !== false) newest = found
      else foreign = true
    }
    if (newest === undefined && foreign) throw notThisSession()
    if (newest === undefined || (candidates.length === 1 && app.owns === undefined)) return { session: newest, ended }
    // While the rest was looked at, it may have ended, and whoever ended it cut only the connections that were there.
    const now = sessions.known(newest.idHash) ?? (await sessions.find(newest.idHash))
    return now !== undefined && 'grant' in now ? { session: now, ended } : { session: undefined, ended: now }
  }

  /**
   * Answers at once where it can.
   *
   * @throws {GatewayError} 403 `not_this_session` when `target` names what none of the browser’s sessions has open
   */
  return (
    { headers }: IncomingMessage,
    site: Site,
    scope: string | undefined,
    target?: Target,
  ): Awaitable<Authenticated> => {
    const { ours, rest: appCookies } = readCookies(headers.cookie)
    const prefix = `${cookiePrefix}-${site.app.webapp.name}-`
    const candidates = ours.filter(({ name }) => name.startsWith(prefix))
    if (candidates.length === 0) return { session: undefined, ended: undefined, appCookies }
    const session = atOnce(site, scope, candidates)
    if (session !== undefined && isServed(session, site)) return { session, ended: undefined, appCookies }
    return lookUp(site, scope, target, candidates).then((found) => ({ ...found, appCookies }))
  }
}

function notThisSession() {
  return forbidden('not_this_session', 'This address belongs to something that is not open in this browser.')
}
