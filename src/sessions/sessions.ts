import { setImmediate } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { SessionsConfig } from '../config/schema.ts'
import { unavailable } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import type { Clock } from '../core/time.ts'
import type { Grant } from '../shares/grant.ts'
import { covers } from '../shares/permissions.ts'
import type { SessionRow, ShareKey, Store } from '../store/store.ts'
import { hashCookieValue, newCookieValue } from './cookie.ts'
import type { LiveConnections } from './live-connections.ts'
import { type EndReason, partyOf, type Remainder, type Session } from './session.ts'
import { createSessionCache, rowOf, sessionOf } from './session-cache.ts'

const REMAINDER_SECONDS = 86_400
const TOUCH_AFTER_SHARE_OF_IDLE = 0.1
const DUE_BATCH = 100
/** Open sessions of one person for one share at one webapp; a further launch ends the oldest. */
const PER_PERSON = 50
/** After so many sessions in a row the others get a turn. */
const BATCH = 20
/** After so long a session is read again, though nobody said that it changed. */
const FRESH_SECONDS = 60
/** Open connections outlive the certainty that their session lives by so long. */
const DEAF_SECONDS = 60

/** What a launch asks for. */
export interface Opening {
  readonly grant: Grant
  readonly webapp: string
  readonly scope: string
  readonly returnUri: string | undefined
  readonly framed: boolean
  readonly frameAncestors: readonly string[]
  readonly suffix: string
  readonly query?: string
  /** Hashes of the cookie values that came with the launch: one of them may be this browser’s session for this very share. */
  readonly presented: readonly string[]
  /** Live sessions that the sender may have. */
  readonly limit: number
}

export type Sessions = ReturnType<typeof createSessions>

/**
 * Opens, finds, renews and ends sessions. Ending is told over the bus, so that every process on the store cuts its
 * connections.
 */
export function createSessions(
  { store, live, now, events }: { store: Store; live: LiveConnections; now: Clock; events: Events },
  config: () => SessionsConfig,
) {
  const onEnd: ((session: Session) => void)[] = []
  const cache = createSessionCache(FRESH_SECONDS, now, () => store.bus.hearing())
  /** The open connections have to be looked at, since the end of a session may not have been heard. */
  let unproven = false
  let heardAt = now()

  store.bus.subscribe((message) => {
    if (message.type === 'missed') {
      unproven = true
      cache.forgetAll()
      // A failure is made up for by `listen`.
      if (store.bus.hearing()) void prove().catch(() => {})
      return
    }
    if (!('idHash' in message)) return
    cache.forget(message.idHash)
    if (message.type === 'session.ended' || message.cut) live.cut(message.idHash)
  })

  /** Cuts the connections whose session has ended, or allows less than when they came in. */
  async function prove(): Promise<void> {
    unproven = false
    try {
      for (const idHash of live.sessions()) {
        const row = await store.sessions.get(idHash)
        if (row?.state === 'live') live.cutBeyond(idHash, sessionOf(row).grant.permissions)
        else live.cut(idHash)
      }
    } catch (error) {
      unproven = true
      throw error
    }
  }

  /** What was missed is made up for as soon as the bus is heard again; until then, open connections have their time. */
  async function listen(): Promise<void> {
    if (store.bus.hearing()) {
      heardAt = now()
      if (unproven) await prove()
    } else if (now() - heardAt > DEAF_SECONDS) {
      for (const idHash of live.sessions()) live.cut(idHash)
    }
  }

  function hardLimit(grant: Grant, openedAt: number): number {
    const { maxAge, boundTo } = config()
    const untilToken = grant.mode !== 'provisioned' || boundTo === 'token'
    return Math.min(openedAt + maxAge, grant.expiresAt ?? Infinity, untilToken ? grant.tokenExpiresAt : Infinity)
  }

  const deadlineOf = (expiresAt: number) => Math.min(expiresAt, now() + config().idleTimeout)

  /** Ends one session, everywhere. Of several callers only one does it. */
  async function end(session: Session, reason: EndReason): Promise<boolean> {
    const remainder: Remainder = { reason, returnUri: session.returnUri, frameAncestors: session.frameAncestors }
    const { idHash, webapp } = session
    const ended = { state: 'ended' as const, idHash, webapp, reason, endedAt: now(), data: JSON.stringify(remainder) }
    const cut = live.count(idHash)
    const row = await store.sessions.end(ended, { keepUntil: now() + REMAINDER_SECONDS })
    if (row === undefined) return false
    const { mode } = session.grant
    events.sessionEnded({ ...partyOf(session), mode, reason, cut, seconds: Math.round(now() - session.openedAt) })
    for (const listener of onEnd) listener(session)
    return true
  }

  async function endAll(
    key: ShareKey,
    reason: EndReason,
    which: (session: Session) => boolean = () => true,
  ): Promise<number> {
    const sessions = (await store.sessions.ofShare(key)).map(sessionOf).filter(which)
    let ended = 0
    await inTurns(sessions, async (session) => {
      if (await end(session, reason)) ended += 1
    })
    // What someone else ended a moment ago counts, too.
    await store.bus.settled()
    return ended
  }

  /**
   * Changes a session that lives, from what it is at that moment: a concurrent change is never undone, and a session that
   * has ended is not brought back. What takes permissions away cuts its connections, because they must come through the
   * door again.
   *
   * @param next the session as it should be; `undefined`: as it is
   * @returns the session as it is now; `undefined` when it has ended
   */
  async function change(idHash: string, next: (session: Session) => Session | undefined): Promise<Session | undefined> {
    for (;;) {
      const row = await store.sessions.get(idHash)
      if (row?.state !== 'live' || row.deadline <= now()) return undefined
      const session = sessionOf(row)
      const changed = next(session)
      if (changed === undefined) return session
      const cut = !covers(changed.grant.permissions, session.grant.permissions)
      if (await store.sessions.update(rowOf(changed), row.data, { cut })) return changed
    }
  }

  /** The same session under another grant: permissions changed, or a newer credential. */
  function regranted(session: Session, grant: Grant): Session {
    const expiresAt = hardLimit(grant, session.openedAt)
    // A deadline that was the old hard limit is no sign of idleness.
    const deadline =
      session.deadline === session.expiresAt ? deadlineOf(expiresAt) : Math.min(session.deadline, expiresAt)
    return { ...session, grant, expiresAt, deadline }
  }

  async function touch(idHash: string, deadline: number): Promise<void> {
    await store.sessions.touch(idHash, deadline)
    cache.forget(idHash)
  }

  async function reuse(opening: Opening): Promise<Session | undefined> {
    const { presented, grant, webapp, scope, returnUri, framed, frameAncestors, suffix, query } = opening
    for (const idHash of presented) {
      let mine = false
      const renewed = await change(idHash, (session) => {
        mine = session.webapp === webapp && session.scope === scope && sameGrantee(session.grant, grant)
        if (!mine) return undefined
        const newest = newer(grant, session.grant)
        const expiresAt = hardLimit(newest, now())
        const kept = {
          ...session,
          returnUri: returnUri ?? session.returnUri,
          framed,
          frameAncestors,
          suffix,
          ...(query !== undefined && { query }),
        }
        return { ...kept, grant: newest, openedAt: now(), expiresAt, deadline: deadlineOf(expiresAt) }
      })
      if (mine && renewed !== undefined) return renewed
    }
    return undefined
  }

  /** A newer token of the same person for the same share serves all their running sessions; what they may do stays. */
  async function renewOthers({ tokenExpiresAt, ...grant }: Grant): Promise<void> {
    await inTurns(await store.sessions.ofShare(grant), ({ idHash }) =>
      change(idHash, (session) => {
        const older = sameGrantee(session.grant, grant) && tokenExpiresAt > session.grant.tokenExpiresAt
        return older ? regranted(session, { ...session.grant, tokenExpiresAt }) : undefined
      }),
    )
  }

  /** Makes room for one more of this person’s sessions, so that nobody’s share fills up with forgotten ones. */
  async function makeRoom({ grant, webapp }: Opening): Promise<void> {
    const sessions = (await store.sessions.ofShare(grant)).map(sessionOf)
    const own = sessions.filter((session) => session.webapp === webapp && sameGrantee(session.grant, grant))
    const surplus = own.toSorted((a, b) => a.openedAt - b.openedAt).slice(0, Math.max(0, own.length - PER_PERSON + 1))
    for (const session of surplus) await end(session, 'superseded')
  }

  /**
   * Brings one session under what is granted now: ends it, narrows or widens it, or leaves it.
   *
   * @returns whether it was narrowed
   */
  async function settle(
    session: Session,
    grantNow: (session: Session) => Grant | undefined,
    reason: EndReason,
  ): Promise<boolean> {
    if (grantNow(session) === undefined) {
      await end(session, reason)
      return false
    }
    let narrower = false
    await change(session.idHash, (held) => {
      const grant = grantNow(held) ?? held.grant
      narrower = !covers(grant.permissions, held.grant.permissions)
      const framable = grant.share.webapp.targets?.includes('iframe') ?? true
      const next = { ...regranted(held, grant), frameAncestors: framable ? held.frameAncestors : [] }
      return isDeepStrictEqual(next, held) ? undefined : next
    })
    return narrower
  }

  return {
    /** Called with every session that ended by this process’s doing. The listener must not throw. */
    onEnd: (listener: (session: Session) => void) => void onEnd.push(listener),

    /**
     * A session for a grant: this browser’s own when it presented one for the same share and person, else a fresh one.
     *
     * @returns the cookie value to set; `undefined` when the browser has it already
     * @throws {GatewayError} 503 `sessions_full`
     */
    async open(opening: Opening): Promise<{ session: Session; cookieValue: string | undefined }> {
      await renewOthers(opening.grant)
      const reused = await reuse(opening)
      if (reused !== undefined) return { session: reused, cookieValue: undefined }
      await makeRoom(opening)
      const cookieValue = newCookieValue()
      const { presented: _, limit, ...opened } = opening
      const { grant } = opened
      const expiresAt = hardLimit(grant, now())
      const deadline = deadlineOf(expiresAt)
      const idHash = hashCookieValue(cookieValue)
      const session = { ...opened, idHash, openedAt: now(), expiresAt, deadline }
      if ((await store.sessions.open(rowOf(session), { limit })) === 'full') {
        throw unavailable(
          'sessions_full',
          `${grant.senderDomain} has as many open sessions as it may have here. Try again later.`,
        )
      }
      return { session, cookieValue }
    },

    /** The live session behind a cookie value when it was found a moment ago; else `find` tells. */
    known: (idHash: string): Session | undefined => cache.get(idHash),

    /** The live session or the remainder behind a cookie value; ends it when its time has come. */
    async find(idHash: string): Promise<Session | Remainder | undefined> {
      const session = await cache.read(idHash, () => store.sessions.get(idHash))
      if (session === undefined) return undefined
      if ('state' in session) return JSON.parse(session.data) as Remainder
      if (session.deadline > now()) return session
      const reason = timeReason(session)
      await end(session, reason)
      return { reason, returnUri: session.returnUri, frameAncestors: session.frameAncestors }
    },

    /** Says that the session was used now. Written seldom: after a tenth of the idle timeout, and when the hard limit is reached. */
    used(session: Session): Promise<void> | undefined {
      const deadline = deadlineOf(session.expiresAt)
      const gained = deadline - session.deadline
      const last = gained > 0 && deadline === session.expiresAt
      const due = last || gained > config().idleTimeout * TOUCH_AFTER_SHARE_OF_IDLE
      return due ? touch(session.idHash, deadline) : undefined
    },

    end,

    /** Ends all sessions of a share. */
    endShare: (key: ShareKey, reason: EndReason): Promise<number> => endAll(key, reason),

    /** Ends one person’s sessions of a share. */
    endPerson: (grant: Pick<Grant, 'user' | 'senderDomain' | 'shareId'>, reason: EndReason): Promise<number> =>
      endAll(grant, reason, (session) => session.grant.user === grant.user),

    /**
     * After a record was replaced: ends what it no longer covers, narrows or widens the rest.
     *
     * @param grantNow what the record leaves of a session’s grant; `undefined`: nothing
     */
    async reconcile(key: ShareKey, grantNow: (session: Session) => Grant | undefined): Promise<void> {
      let narrowed = 0
      await inTurns(await store.sessions.ofShare(key), async (row) => {
        if (await settle(sessionOf(row), grantNow, 'replaced')) narrowed += 1
      })
      await store.bus.settled()
      const { senderDomain, shareId } = key
      if (narrowed > 0) events.sessionsNarrowed({ senderDomain, shareId, sessions: narrowed })
    },

    /**
     * Looks at every live session: at start-up and after a reload, not in the request path.
     *
     * @param judge what is granted now, or why it ends
     */
    async revise(judge: (session: Session) => Promise<Grant | EndReason>): Promise<void> {
      await inTurns(await store.sessions.ids(), async (idHash) => {
        const row = await store.sessions.get(idHash)
        if (row?.state !== 'live') return
        const session = sessionOf(row)
        const judgement = await judge(session)
        if (typeof judgement === 'string') await end(session, judgement)
        else await settle(session, (held) => ({ ...held.grant, permissions: judgement.permissions }), 'replaced')
      })
    },

    /** Whether it lives at this very moment, by the store. */
    isLive: async ({ idHash }: Session): Promise<boolean> => (await store.sessions.get(idHash))?.state === 'live',

    /** Live sessions of a share, at whatever webapp. */
    ofShare: async (key: ShareKey): Promise<Session[]> => (await store.sessions.ofShare(key)).map(sessionOf),

    /** Whether anyone still has this person’s share open at this webapp. */
    async isOpen({ webapp, grant }: Session): Promise<boolean> {
      const rows = await store.sessions.ofShare(grant)
      return rows.some(
        (row) => row.webapp === webapp && row.deadline > now() && sessionOf(row).grant.user === grant.user,
      )
    },

    /**
     * Ends what is past its deadline, and cuts what ended unheard. Called every second, so that an expiry cuts its
     * connections within two.
     */
    async sweep(): Promise<void> {
      await listen()
      let due: readonly SessionRow[]
      do {
        due = await store.sessions.due(now(), DUE_BATCH)
        await inTurns(due.map(sessionOf), (session) => end(session, timeReason(session)))
      } while (due.length === DUE_BATCH)
    },

    /** A session with an open connection is not idle. Called a few times per idle timeout. */
    async keepAlive(): Promise<void> {
      for (const idHash of live.sessions()) {
        const row = await store.sessions.get(idHash)
        if (row?.state === 'live') await touch(idHash, deadlineOf(sessionOf(row).expiresAt))
        else live.cut(idHash)
      }
    },
  }

  function timeReason(session: Session): EndReason {
    return session.expiresAt <= now() ? 'expired' : 'idle'
  }
}

/** One after the other, and the rest of the process in between: the store answers at once, so nobody else would get a turn. */
async function inTurns<Item>(items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  for (const [index, item] of items.entries()) {
    if (index % BATCH === BATCH - 1) await setImmediate()
    await work(item)
  }
}

type Grantee = Pick<Grant, 'senderDomain' | 'shareId' | 'instance' | 'user'>

/** Same share, same record, same person: what one cookie stands for. */
function sameGrantee(a: Grantee, b: Grantee): boolean {
  return a.senderDomain === b.senderDomain && a.shareId === b.shareId && a.instance === b.instance && a.user === b.user
}

/** The posted token may be an older one than what the session already has: permissions are always today’s. */
function newer(posted: Grant, held: Grant): Grant {
  return posted.tokenExpiresAt >= held.tokenExpiresAt ? posted : { ...posted, tokenExpiresAt: held.tokenExpiresAt }
}
