import type { IncomingMessage } from 'node:http'
import { serves } from '../apps/matching.ts'
import { forbidden } from '../core/errors.ts'
import type { Target } from '../proxy/target.ts'
import { hashCookieValue, splitCookies } from '../sessions/cookie.ts'
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

  /** @throws {GatewayError} 403 `not_this_session` when `target` names what none of the browser’s sessions has open */
  return async (
    { headers }: IncomingMessage,
    site: Site,
    scope: string | undefined,
    target?: Target,
  ): Promise<Authenticated> => {
    const { app } = site
    const { ours, rest } = splitCookies(headers.cookie, cookiePrefix)
    const prefix = `${cookiePrefix}-${site.app.webapp.name}-`
    let newest: Session | undefined
    let ended: Remainder | undefined
    let foreign = false
    const candidates = ours.filter(({ name }) => name.startsWith(prefix))
    // Browsers send the oldest first.
    for (const { value } of candidates.slice(-MAX_COOKIES)) {
      const idHash = hashCookieValue(value)
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
    if (newest === undefined || (candidates.length === 1 && app.owns === undefined))
      return { session: newest, ended, appCookies: rest }
    // While the rest was looked at, it may have ended, and whoever ended it cut only the connections that were there.
    const now = sessions.known(newest.idHash) ?? (await sessions.find(newest.idHash))
    return now !== undefined && 'grant' in now
      ? { session: now, ended, appCookies: rest }
      : { session: undefined, ended: now, appCookies: rest }
  }
}

function notThisSession() {
  return forbidden('not_this_session', 'This address belongs to something that is not open in this browser.')
}
