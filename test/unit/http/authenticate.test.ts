import type { IncomingMessage } from 'node:http'
import { expect, it } from 'vitest'
import { createAuthenticate } from '../../../src/http/authenticate.ts'
import type { Site } from '../../../src/http/places.ts'
import { hashCookieValue, newCookieValue } from '../../../src/sessions/cookie.ts'
import type { Remainder, Session } from '../../../src/sessions/session.ts'
import type { Sessions } from '../../../src/sessions/sessions.ts'
import type { Pairings } from '../../../src/trust/pairings.ts'
import { sessionOf } from '../fixtures.ts'

const REMAINDER: Remainder = { reason: 'revoked', returnUri: undefined, frameAncestors: [] }

it('a session that ends while the browser’s other cookies are looked at lets nobody in', async () => {
  const [first, second] = [newCookieValue(), newCookieValue()]
  const session = sessionOf({ idHash: hashCookieValue(first) })
  let held: Session | Remainder = session
  const sessions = {
    known: () => undefined,
    find: async (idHash: string) => {
      if (idHash === session.idHash) return held
      // Somebody revokes the share meanwhile.
      held = REMAINDER
      return undefined
    },
  } as unknown as Sessions
  const pairings = { find: () => ({}) } as unknown as Pairings
  const { webapp: name, scope } = session
  const site = { app: { webapp: { name, ocmServers: undefined } }, base: scope } as unknown as Site
  const authenticate = createAuthenticate({ sessions, pairings, cookiePrefix: 'ocm' })
  const through = (cookie: string) => authenticate({ headers: { cookie } } as IncomingMessage, site, scope)
  expect((await through(`ocm-${name}-1=${first}`)).session).toBe(session)
  const answer = await through(`ocm-${name}-1=${first}; ocm-${name}-2=${second}`)
  expect(answer).toEqual({ session: undefined, ended: REMAINDER, appCookies: '' })
})
