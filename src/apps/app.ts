import type { z } from 'zod'
import type { Fields, Permission, Webapp } from '../config/schema.ts'
import type { Events } from '../core/events.ts'
import type { Outbound } from '../core/outbound.ts'
import type { Clock } from '../core/time.ts'
import type { Session } from '../sessions/session.ts'
import type { Grant } from '../shares/grant.ts'
import type { Share } from '../shares/share.ts'
import type { Store, Workload } from '../store/store.ts'
import type { Sealer } from '../trust/sealer.ts'
import type { SigningKey } from '../trust/signing-key.ts'

/** A request towards the app, as the permission rules see it. */
export interface AppRequest {
  readonly method: string
  /** Decoded path relative to `S`, without a leading slash and without the query. */
  readonly path: string
  /** A WebSocket handshake. */
  readonly upgrade: boolean
}

/** What a kind tells the person who waits. */
export interface Progress {
  /** 0 to 100. */
  readonly percent: number
  readonly message: string
}

export type Report = (progress: Progress) => void

/** How requests and responses of one app are forwarded; resolved once, when the configuration loads. */
export interface ForwardPolicy {
  /** Send the app’s own cookies in both directions. */
  readonly cookies: boolean
  /** Request headers that are dropped, lower case. */
  readonly dropRequestHeaders: readonly string[]
  /** Query parameters that are dropped before forwarding. */
  readonly dropQuery: readonly string[]
  /** Response headers that are dropped, lower case. */
  readonly dropResponseHeaders: readonly string[]
  /** A `Location` below one of these paths means that the app has lost its user: the browser gets the session-ended page. */
  readonly endedLocations: readonly string[]
}

export const PLAIN_FORWARDING: ForwardPolicy = {
  cookies: true,
  dropRequestHeaders: [],
  dropQuery: [],
  dropResponseHeaders: [],
  endedLocations: [],
}

/** How public paths become the app’s: the first prefix is replaced by the second. Both end in `/`; mostly they are equal. */
export interface Mount {
  readonly public: string
  readonly upstream: string
}

/** What `sweep` asks about: is there a live session for it? */
export type IsClaimed = (workload: Workload) => Promise<boolean>

/** One configured webapp of some kind: all that the gateway asks it. Paths are raw (as on the wire) unless said otherwise. */
export interface App {
  readonly webapp: Webapp
  readonly forwarding: ForwardPolicy
  /** Whether a share is this app’s when its `webapp.uri` does not say so. */
  accepts(share: Share): boolean
  /** The path scope `S` that a grant gets: the base path or below it, ends in `/`. */
  scopeFor(grant: Grant): string
  /** The scope that a path falls into, whoever asks; `undefined`: none, so the path is never proxied with a session. */
  scopeOf(path: string): string | undefined
  mount(scope: string): Mount
  /** Whether a path may be fetched without a session (static assets without share data). */
  isPublic(path: string): boolean
  /**
   * Where the browser goes at once, when nothing has to be started. `session.suffix` is the path below the launch URL.
   *
   * @returns an absolute path, or `undefined` when `prepare` has to run first
   */
  ready(session: Session): Promise<string | undefined>
  /**
   * Makes the app ready, telling how it goes; several callers for one share and person join one start.
   *
   * @returns the absolute path where the browser goes
   * @throws {GatewayError} its message is shown to the person who waits
   */
  prepare(session: Session, report: Report): Promise<string>
  /** The permission that a request needs. @throws {GatewayError} for what nobody may do */
  authorize(session: Session, request: AppRequest): Permission
  /** Headers to add towards the app for this session; `undefined` when the app has to be prepared (again) first. */
  credentials(session: Session): Promise<Readonly<Record<string, string>> | undefined>
  /** Stops what was started for this person’s share. Idempotent; can be resumed after a crash. */
  release(session: Session): Promise<void>
  /** At start-up and every hour: stops what no live session claims. */
  sweep(isClaimed: IsClaimed): Promise<void>
}

/** What every kind may use. */
export interface AppTools {
  readonly outbound: Outbound
  readonly store: Store
  readonly now: Clock
  readonly events: Events
  readonly signingKey: SigningKey
  readonly sealer: Sealer
  /** `server.publicUrl`, the issuer of our assertions. */
  readonly publicUrl: string
}

/** A kind: one folder, one line in the registry. `create` gets what its own `options` made of the configuration. */
export interface AppKind<Options> {
  readonly kind: string
  /** It manages what is at its upstream as a whole, so that two webapps must not share one. */
  readonly ownsUpstream?: boolean
  readonly options: (fields: Fields) => z.ZodType
  create(webapp: Webapp<Options>, tools: AppTools): App
}

interface TypedAppKind<Options> extends AppKind<Options> {
  readonly options: (fields: Fields) => z.ZodType<Options>
}

export function defineAppKind<Options>(kind: TypedAppKind<Options>): TypedAppKind<Options> {
  return kind
}
