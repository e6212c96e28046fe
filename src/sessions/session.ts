import type { Party } from '../core/events.ts'
import type { Grant } from '../shares/grant.ts'

/** One open share in one browser: what the door checks on every request. Made only by `sessions.ts`. */
export interface Session {
  /** SHA-256 of the cookie value, base64url. The value itself is never kept. */
  readonly idHash: string
  readonly webapp: string
  /** The path scope `S`, ending in `/`: the cookie’s `Path`, and all that this session can reach. */
  readonly scope: string
  readonly grant: Grant
  /** Epoch seconds: the last launch into it. */
  readonly openedAt: number
  /** Epoch seconds: the hard limit. Idle timeout may end it earlier. */
  readonly expiresAt: number
  /** Epoch seconds: `expiresAt`, or the idle timeout after the last use, whichever is first. */
  readonly deadline: number
  /** Where its browser goes when it ends: a verified `expired_session_redirect_uri`. */
  readonly returnUri: string | undefined
  /** The app is shown inside a frame of the Receiving Server (`Sec-Fetch-Dest: iframe`, or the header was missing). */
  readonly framed: boolean
  /** What may frame its responses: the sources of `frame-ancestors`; empty: nobody. */
  readonly frameAncestors: readonly string[]
  /** Decoded path below the launch URL, `''` when there was none: a hint from outside, free of `..`. */
  readonly suffix: string
  /** Raw query of the launch URL, `''` or starts with `?`: a hint from outside. Not there in sessions of older versions. */
  readonly query?: string
}

/** Why a session ended. */
export type EndReason =
  | 'revoked'
  | 'expired'
  | 'idle'
  | 'logout'
  | 'replaced'
  | 'closed'
  | 'superseded'
  | 'unpaired'
  /** An operator ended this one session. */
  | 'operator'
  /** An operator revoked the share. */
  | 'blocked'

/** What is left of an ended session for a day. */
export interface Remainder {
  readonly reason: EndReason
  readonly returnUri: string | undefined
  readonly frameAncestors: readonly string[]
}

const SHOWN_ID = 16

/** The session as logs and operators know it. */
export function partyOf({ idHash, webapp, grant }: Pick<Session, 'idHash' | 'webapp' | 'grant'>): Party {
  const { senderDomain, shareId, user, owner } = grant
  return { session: idHash.slice(0, SHOWN_ID), webapp, senderDomain, shareId, user, owner }
}
