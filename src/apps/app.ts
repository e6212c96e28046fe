import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { z } from 'zod'
import type { Fields, Permission, Webapp } from '../config/schema.ts'
import type { Awaitable } from '../core/awaitable.ts'
import type { Events } from '../core/events.ts'
import type { Html } from '../core/html.ts'
import type { Outbound } from '../core/outbound.ts'
import type { Clock } from '../core/time.ts'
import type { Resources } from '../resources/resources.ts'
import type { Session } from '../sessions/session.ts'
import type { Grant } from '../shares/grant.ts'
import type { Share } from '../shares/share.ts'
import type { RecentWorkloads } from '../store/recent-workloads.ts'
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

/** An authorised plain request, as a kind may look at it before it is forwarded. */
export interface InspectedRequest extends AppRequest {
  /** Raw path, as received. */
  readonly rawPath: string
  /** Raw, `''` or starts with `?`. */
  readonly query: string
  readonly headers: IncomingHttpHeaders
}

/** What a kind changes about a request and its answer. */
export interface Intervention {
  /** In place of the client’s. */
  readonly method?: string
  /** In place of the client’s, with its `Content-Length`; needed when the body was read. */
  readonly body?: Buffer
  /** Added to the request, in place of the client’s of the same name. Names lower case. */
  readonly headers?: Readonly<Record<string, string>>
  /** Added to the answer, in place of the app’s of the same name. Names lower case. */
  readonly responseHeaders?: Readonly<Record<string, string>>
  /** Called once, with the app’s status when it answered, however the answer went on. Must not throw. */
  answered?(status: number | undefined): void
}

/** @throws {GatewayError} 413 `body_too_large` */
export type ReadBody = (maxBytes: number) => Promise<Buffer>

/** What a kind tells the person who waits. */
export interface Progress {
  /** 0 to 100. */
  readonly percent: number
  readonly message: string
  /** What exactly goes on now, such as the name of a file. */
  readonly detail?: string
  /** What people should have read before they go on; the page then waits for them. */
  readonly notice?: Notice
}

export interface Notice {
  readonly heading: string
  readonly text: string
  readonly items: readonly { readonly what: string; readonly why: string }[]
  /** How many more items there are than are listed. */
  readonly more: number
}

export type Report = (progress: Progress) => void

/** For a start that nobody watches yet. */
export const unwatched: Report = () => {}

export interface Description extends Readonly<Record<string, unknown>> {
  readonly content?: ContentStatus
}

/** What has become of the shared files, and of what people did with them. */
export interface ContentStatus {
  /** `private`: nothing goes back; `absent`: no files were brought. */
  readonly state: 'saved' | 'saving' | 'waiting' | 'conflict' | 'private' | 'absent'
  /** Changes that the sending cloud does not have yet. */
  readonly pending?: number
  readonly paths?: readonly string[]
  /** Why they wait, in words for people. */
  readonly waiting?: string
  readonly conflicts?: readonly { readonly path: string; readonly copy: string; readonly at: number }[]
  readonly leftOut: {
    readonly total: number
    readonly listed: readonly { readonly path: string; readonly why: string }[]
  }
  /** Epoch seconds. */
  readonly lastSavedAt?: number
}

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

/** What trying a peer found: the setting that it is about, and what is well or what would be right. */
export interface OnlineFinding {
  readonly ok: boolean
  /** Below the webapp’s own section, as in `jupyterhub.apiTokenFile`. */
  readonly path: string
  /** A single line; never a token or a secret. */
  readonly message: string
}

/** What the URL of a request says, raw. */
interface RequestTarget {
  readonly path: string
  /** `''` or starts with `?`. */
  readonly query: string
}

/** A request to a kind’s own host. */
export interface HostCall extends RequestTarget {
  readonly requestId: string
  /** From now on the end of that session cuts the connection. @returns takes it back */
  endWith(idHash: string): () => void
  /** From now on what goes over the connection counts for that session. */
  countFor(session: Session): void
}

/**
 * Where a kind answers programs itself: they have no session’s cookie, and bring a credential that the kind gave out. Nothing
 * was checked but the form of the request; bodies arrive as they are sent.
 */
export interface AppHost {
  /** All that is below; ends in `/`. It may be on a host of its own, where nothing else is served. */
  readonly url: string
  /** Answers, whatever comes. @throws {GatewayError} only while nothing was sent */
  handle(req: IncomingMessage, res: ServerResponse, call: HostCall): Promise<void>
}

/** What a kind answers a person itself: a page in the gateway’s own layout, another address, or bytes to keep. */
export type AppAnswer =
  | { readonly type: 'page'; readonly title: string; readonly body: Html }
  | { readonly type: 'redirect'; readonly location: string }
  | {
      readonly type: 'download'
      readonly name: string
      readonly size: number
      readonly body: AsyncIterable<Uint8Array>
    }

/** One configured webapp of some kind: all that the gateway asks it. Paths are raw (as on the wire) unless said otherwise. */
export interface App {
  readonly webapp: Webapp
  readonly forwarding: ForwardPolicy
  /** It reaches the shared resource itself, so that every launch leaves its access token with us. */
  readonly usesResource?: boolean
  readonly host?: AppHost
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
  /** Whether a request can be this session’s by what its URL names; of several sessions in one scope only such are asked. */
  owns?(session: Session, target: RequestTarget): Promise<boolean>
  /** What the kind itself answers to a GET of `S.ocm/<path>`; `undefined`: nothing is there. `path` is raw. */
  answer?(session: Session, path: string): Promise<AppAnswer | undefined>
  /** The permission that a request needs. @throws {GatewayError} for what nobody may do */
  authorize(session: Session, request: AppRequest): Permission
  /** Looks at an authorised plain request before it is forwarded. `undefined`, the usual answer: nothing to change. */
  intervene?(session: Session, request: InspectedRequest, readBody: ReadBody): Promise<Intervention> | undefined
  /** What people and programs may know of the app’s side of a session; part of the answer of `S.ocm/session`. */
  describe?(session: Session): Promise<Description>
  /** Headers to add towards the app for this session; `undefined` when the app has to be prepared (again) first. */
  credentials(session: Session): Awaitable<Readonly<Record<string, string>> | undefined>
  /**
   * Asked when the app has lost a session’s user (`ForwardPolicy.endedLocations`).
   *
   * @returns where the browser has it started again; `undefined`: it runs, so that for this session it is over
   */
  lost?(session: Session): Promise<string | undefined>
  /** Stops what was started for this person’s share. Idempotent; can be resumed after a crash. */
  release(session: Session): Promise<void>
  /** At start-up and every hour: stops what no live session claims. */
  sweep(isClaimed: IsClaimed): Promise<void>
  /**
   * `ocm-gateway check --online`: asks what only the running app can tell, and changes nothing there. That the upstream
   * answers at all is asked for every kind. A peer that fails is a finding, not an exception.
   */
  checkOnline?(): Promise<readonly OnlineFinding[]>
}

/** What every kind may use. */
export interface AppTools {
  readonly outbound: Outbound
  readonly store: Store
  readonly recentWorkloads: RecentWorkloads
  readonly now: Clock
  readonly events: Events
  readonly signingKey: SigningKey
  readonly sealer: Sealer
  readonly resources: Resources
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
