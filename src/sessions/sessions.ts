import type { SessionsConfig } from '../config/schema.ts'
import { unavailable } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import type { Clock } from '../core/time.ts'
import type { Grant } from '../shares/grant.ts'
import { covers } from '../shares/permissions.ts'
import type { SessionRow, ShareKey, Store } from '../store/store.ts'
import { hashCookieValue, newCookieValue } from './cookie.ts'
import type { LiveConnections } from './live-connections.ts'
import type { EndReason, Remainder, Session } from './session.ts'

const REMAINDER_SECONDS = 86_400
const TOUCH_AFTER_SHARE_OF_IDLE = 0.1
const DUE_BATCH = 100

/** What a launch asks for. */
export interface Opening {
  readonly grant: Grant
  readonly webapp: string
  readonly scope: string
  readonly returnUri: string | undefined
  readonly framed: boolean
  readonly frameAncestors: readonly string[]
  readonly suffix: string
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

  store.bus.subscribe((message) => {
    if (message.type === 'session.ended') live.cut(message.idHash)
  })

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
    const row = await store.sessions.end(ended, { keepUntil: now() + REMAINDER_SECONDS })
    if (row === undefined) return false
    const cut = live.cut(idHash)
    await store.bus.publish({ type: 'session.ended', idHash, reason })
    const { senderDomain, shareId } = session.grant
    events.sessionEnded({ webapp, senderDomain, shareId, reason, cut })
    for (const listener of onEnd) listener(session)
    return true
  }

  async function endAll(
    key: ShareKey,
    reason: EndReason,
    which: (session: Session) => boolean = () => true,
  ): Promise<number> {
    const sessions = (await store.sessions.ofShare(key)).map(sessionOf).filter(which)
    const ended = await Promise.all(sessions.map((session) => end(session, reason)))
    return ended.filter(Boolean).length
  }

  /** Gives a live session another grant: permissions cut, or a newer credential. */
  async function regrant(session: Session, grant: Grant): Promise<Session | undefined> {
    const expiresAt = hardLimit(grant, session.openedAt)
    const next = { ...session, grant, expiresAt, deadline: Math.min(session.deadline, expiresAt) }
    if (!(await store.sessions.update(rowOf(next)))) return undefined
    await store.bus.publish({ type: 'session.changed', idHash: session.idHash })
    return next
  }

  async function reuse({
    presented,
    grant,
    webapp,
    scope,
    returnUri,
    framed,
    frameAncestors,
    suffix,
  }: Opening): Promise<Session | undefined> {
    for (const idHash of presented) {
      const row = await store.sessions.get(idHash)
      if (row?.state !== 'live' || row.deadline <= now()) continue
      const session = sessionOf(row)
      if (session.webapp !== webapp || session.scope !== scope || !sameGrantee(session.grant, grant)) continue
      const newest = newer(grant, session.grant)
      const expiresAt = hardLimit(newest, now())
      const kept = { ...session, returnUri: returnUri ?? session.returnUri, framed, frameAncestors, suffix }
      const renewed = { ...kept, grant: newest, openedAt: now(), expiresAt, deadline: deadlineOf(expiresAt) }
      if (await store.sessions.update(rowOf(renewed))) return renewed
    }
    return undefined
  }

  /** A newer token of the same person for the same share serves all their running sessions. */
  async function renewOthers(grant: Grant): Promise<void> {
    for (const row of await store.sessions.ofShare(grant)) {
      const session = sessionOf(row)
      if (sameGrantee(session.grant, grant) && grant.tokenExpiresAt > session.grant.tokenExpiresAt)
        await regrant(session, grant)
    }
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

    /** The live session or the remainder behind a cookie value; ends it when its time has come. */
    async find(idHash: string): Promise<Session | Remainder | undefined> {
      const row = await store.sessions.get(idHash)
      if (row === undefined) return undefined
      if (row.state === 'ended') return JSON.parse(row.data) as Remainder
      const session = sessionOf(row)
      if (row.deadline > now()) return session
      const reason = timeReason(session)
      await end(session, reason)
      return { reason, returnUri: session.returnUri, frameAncestors: session.frameAncestors }
    },

    /** Says that the session was used now. Written seldom: when a tenth of the idle timeout has passed since. */
    async used(session: Session): Promise<void> {
      const deadline = deadlineOf(session.expiresAt)
      const due = deadline - session.deadline > config().idleTimeout * TOUCH_AFTER_SHARE_OF_IDLE
      if (due) await store.sessions.touch(session.idHash, deadline)
    },

    end,

    /** Ends all sessions of a share. */
    endShare: (key: ShareKey, reason: EndReason): Promise<number> => endAll(key, reason),

    /** Ends one person’s sessions of a share. */
    endPerson: (grant: Pick<Grant, 'user' | 'senderDomain' | 'shareId'>, reason: EndReason): Promise<number> =>
      endAll(grant, reason, (session) => session.grant.user === grant.user),

    /** After a record was replaced: ends what it no longer covers, narrows or widens the rest. `regranted` answers for one session. */
    async reconcile(key: ShareKey, regranted: (session: Session) => Grant | undefined): Promise<void> {
      for (const row of await store.sessions.ofShare(key)) {
        const session = sessionOf(row)
        const grant = regranted(session)
        if (grant === undefined) await end(session, 'replaced')
        else if (!covers(grant.permissions, session.grant.permissions)) {
          await regrant(session, grant)
          events.sessionsNarrowed({
            senderDomain: key.senderDomain,
            shareId: key.shareId,
            sessions: live.cut(session.idHash),
          })
        } else await regrant(session, grant)
      }
    },

    /** Live sessions of a share, at whatever webapp. */
    ofShare: async (key: ShareKey): Promise<Session[]> => (await store.sessions.ofShare(key)).map(sessionOf),

    /** Whether anyone still has this person’s share open at this webapp. */
    async isOpen({ webapp, grant }: Session): Promise<boolean> {
      const rows = await store.sessions.ofShare(grant)
      return rows.some(
        (row) => row.webapp === webapp && row.deadline > now() && sessionOf(row).grant.user === grant.user,
      )
    },

    /** Ends what is past its deadline. Called every second, so that an expiry cuts its connections within two. */
    async sweep(): Promise<void> {
      for (const row of await store.sessions.due(now(), DUE_BATCH)) {
        const session = sessionOf(row)
        await end(session, timeReason(session))
      }
    },

    /** A session with an open connection is not idle. Called a few times per idle timeout. */
    async keepAlive(): Promise<void> {
      for (const idHash of live.sessions()) {
        const row = await store.sessions.get(idHash)
        if (row?.state === 'live') await store.sessions.touch(idHash, deadlineOf(sessionOf(row).expiresAt))
        else live.cut(idHash)
      }
    },
  }

  function timeReason(session: Session): EndReason {
    return session.expiresAt <= now() ? 'expired' : 'idle'
  }
}

/** Same share, same record, same person: what one cookie stands for. */
function sameGrantee(a: Grant, b: Grant): boolean {
  return a.senderDomain === b.senderDomain && a.shareId === b.shareId && a.instance === b.instance && a.user === b.user
}

/** The posted token may be an older one than what the session already has: permissions are always today’s. */
function newer(posted: Grant, held: Grant): Grant {
  return posted.tokenExpiresAt >= held.tokenExpiresAt ? posted : { ...posted, tokenExpiresAt: held.tokenExpiresAt }
}

function rowOf(session: Session): SessionRow {
  const { idHash, webapp, deadline, grant, ...data } = session
  const { senderDomain, shareId } = grant
  return { state: 'live', idHash, webapp, deadline, senderDomain, shareId, data: JSON.stringify({ ...data, grant }) }
}

function sessionOf({ idHash, webapp, deadline, data }: SessionRow): Session {
  return { ...(JSON.parse(data) as Omit<Session, 'idHash' | 'webapp' | 'deadline'>), idHash, webapp, deadline }
}
