import { type DestinationStream, type Logger, pino } from 'pino'

/** What a listener hears of every fact: its stable name and its fields. Metrics are made from these. */
export type Observer = (event: string, fields: Readonly<Record<string, unknown>>) => void

export type Events = ReturnType<typeof createEvents>

/** The log: JSON lines, the level as a word, time in epoch milliseconds. */
export function createLog({ level, destination }: { level: string; destination?: DestinationStream }): Logger {
  const options = { base: null, level, formatters: { level: (label: string) => ({ level: label }) } }
  return pino(options, destination ?? pino.destination({ fd: 1, sync: true }))
}

/** Every security decision carries these. */
interface Decision {
  readonly requestId: string
  readonly webapp?: string
  readonly senderDomain?: string
  readonly shareId?: string
}

/** Why something was refused or failed: the stable code, and what the public did not get to see. */
interface Refused {
  readonly reason: string
  readonly status?: number
  readonly message?: string
  readonly detail?: Record<string, unknown>
}

/** Who has which share open where: one session, as the audit knows it. */
export interface Party {
  /** The beginning of the hash of its cookie: tells sessions apart, opens none. */
  readonly session: string
  readonly webapp: string
  readonly senderDomain: string
  readonly shareId: string
  /** OCM addresses. */
  readonly user: string
  readonly owner: string
}

/** What became of a document that somebody has open in an editor. */
interface Edited extends Party {
  readonly requestId: string
  /** Its id in the editor’s addresses: the same for everybody who opens it. */
  readonly document: string
}

type Level = 'debug' | 'info' | 'warn' | 'error'

/** What stands in the log for an OCM address, or another name of a person. */
export type Pseudonym = (name: string) => string

/** Fields that name a person, also within `detail`. */
const PERSONAL = ['user', 'owner', 'recipient', 'shareWith', 'sub', 'aud']

/**
 * Every fact the gateway tells, one function each: its name, level and fields live here, so that call sites cannot drift.
 * Fields are ids and codes; never a token, secret, cookie, form body or `Authorization` value. Those that are part of the
 * audit (docs/audit.md) carry `audit: true`.
 *
 * @param pseudonym asked for every fact; `undefined`: people are called by their names
 */
export function createEvents(log: Logger, pseudonym: () => Pseudonym | undefined = () => undefined) {
  const observers: Observer[] = []
  const telling =
    (marks: object) =>
    <Fields extends object>(level: Level, event: string) =>
    (fields: Fields) => {
      const calls = pseudonym()
      log[level]({ event, ...marks, ...(calls === undefined ? fields : withoutNames(fields, calls)) })
      for (const observe of observers) observe(event, fields as Readonly<Record<string, unknown>>)
    }
  const tell = telling({})
  const audit = telling({ audit: true })
  /** Too frequent for the log: for the observers only. */
  const count =
    <Fields extends object>(event: string) =>
    (fields: Fields) => {
      for (const observe of observers) observe(event, fields as Readonly<Record<string, unknown>>)
    }
  return {
    observe: (observer: Observer) => void observers.push(observer),

    listening: tell<{ url: string; adminUrl: string; workers?: number }>('info', 'listening'),
    draining: tell<{ signal: string }>('info', 'draining'),
    stopped: tell<object>('info', 'stopped'),
    configReloaded: tell<{ file: string }>('info', 'config.reloaded'),
    configRefused: tell<{ file: string; problems: readonly string[] }>('error', 'config.refused'),
    workerStarted: tell<{ worker: number; pid: number }>('info', 'worker.started'),
    workerStuck: tell<{ worker: number; pid: number; seconds: number }>('error', 'worker.stuck'),
    workerEnded: tell<{
      worker: number
      pid: number
      code: number | null
      signal: string | null
      problem: string | undefined
      seconds: number
    }>('error', 'worker.ended'),
    signingKeyCreated: tell<{ file: string; kid: string }>('info', 'signing-key.created'),

    launchAccepted: audit<
      Decision &
        Party & { mode: string; renewed: boolean; permissions: readonly string[]; requirements: readonly string[] }
    >('info', 'launch.accepted'),
    launchRefused: audit<Decision & Refused & { mode?: string }>('warn', 'launch.refused'),
    returnUriIgnored: tell<Decision & { reason: string }>('warn', 'launch.return-uri-ignored'),

    shareStored: audit<
      Decision & {
        outcome: string
        shares: number
        owner: string
        recipient: string
        permissions: readonly string[]
      }
    >('info', 'share.stored'),
    shareRevoked: audit<Decision & { outcome: string; seconds: number }>('info', 'share.revoked'),
    shareClosed: audit<Decision & { user: string; sessions: number }>('info', 'share.closed'),
    signatureRefused: audit<Decision & Refused>('warn', 'signature.refused'),
    integrationRefused: audit<Decision & Refused & { operation: string }>('warn', 'integration.refused'),
    toleranceUsed: tell<{ senderDomain: string; tolerance: string }>('warn', 'tolerance.used'),

    sessionEnded: audit<Party & { mode: string; reason: string; cut: number; seconds: number }>(
      'info',
      'session.ended',
    ),
    sessionTraffic: audit<Party & { requests: number; bytesIn: number; bytesOut: number; seconds: number }>(
      'info',
      'session.traffic',
    ),
    sessionsNarrowed: audit<{ senderDomain: string; shareId: string; sessions: number }>('info', 'session.narrowed'),
    requestRefused: audit<Decision & Refused & { method: string; host?: string }>('warn', 'request.refused'),

    connectionRefused: count<object>('connection.refused'),
    connectionsExhausted: tell<{ client: string; limit: number }>('warn', 'connections.exhausted'),

    keysFetched: tell<{ domain: string; result: 'ok' | 'empty'; keys: number; rejected: readonly string[] }>(
      'info',
      'keys.fetched',
    ),
    keysFailed: tell<{ domain: string; result: 'failed'; message: string; stillServing: boolean }>(
      'warn',
      'keys.failed',
    ),

    proxied: count<{ webapp: string; code: number; seconds: number }>('proxied'),
    webSocketOpened: count<{ webapp: string }>('websocket.opened'),
    webSocketClosed: count<{ webapp: string }>('websocket.closed'),
    introspected: tell<{ domain: string; result: 'active' | 'inactive' }>('debug', 'introspection.answered'),
    introspectionFailed: tell<{ domain: string; result: 'failed'; message: string }>('warn', 'introspection.failed'),

    storeOperation: count<{ operation: string; seconds: number }>('store.operation'),
    upstreamFailed: tell<Decision & Refused>('warn', 'upstream.failed'),
    appStarted: tell<{ webapp: string; name: string; seconds: number }>('info', 'app.started'),
    appFailed: tell<Partial<Refused> & { webapp: string; name: string; message: string }>('warn', 'app.failed'),
    appStopped: tell<{ webapp: string; name: string; seconds: number }>('info', 'app.stopped'),
    contentBrought: tell<{
      webapp: string
      name: string
      files: number
      bytes: number
      leftOut: number
      seconds: number
    }>('info', 'content.brought'),
    contentStale: tell<{ webapp: string; name: string; reason: string; message: string }>('warn', 'content.stale'),
    contentSaved: tell<{ webapp: string; name: string; changes: number }>('info', 'content.saved'),
    contentWaiting: tell<{ webapp: string; name: string; message: string }>('warn', 'content.waiting'),
    contentConflict: tell<{ webapp: string; name: string }>('warn', 'content.conflict'),
    contentKept: tell<{ webapp: string; name: string; changes: number; until: number }>('warn', 'content.kept'),
    contentDropped: tell<{ webapp: string; name: string; changes: number; reason: string }>('warn', 'content.dropped'),
    appReleased: tell<{ webapp: string; name: string; seconds: number }>('info', 'app.released'),
    documentOpened: audit<Edited & { bytes: number | undefined }>('info', 'document.opened'),
    documentSaved: audit<Edited & { bytes: number | undefined; seconds: number }>('info', 'document.saved'),
    documentKept: audit<Edited & { reason: string; bytes: number; where: 'store' | 'beside' }>('warn', 'document.kept'),
    documentNotKept: tell<Edited & { reason: string; message: string }>('error', 'document.not-kept'),
    wopiRefused: audit<Decision & Refused & Partial<Edited> & { operation: string }>('warn', 'wopi.refused'),
    editorDiscovered: tell<{ webapp: string; flavour: string; types: number; signs: boolean }>(
      'info',
      'editor.discovered',
    ),
    editorDiscoveryFailed: tell<{ webapp: string; message: string; stillServing: boolean }>(
      'warn',
      'editor.discovery-failed',
    ),
    storeWarning: tell<{ message: string }>('warn', 'store.warning'),
    storeFailed: tell<{ operation: string; message: string }>('error', 'store.failed'),
    unexpected: tell<{ requestId?: string; where: string; err: unknown }>('error', 'unexpected'),
  }
}

function withoutNames(fields: object, calls: Pseudonym): object {
  const renamed = Object.entries(fields).map(([key, value]) => {
    if (key === 'detail') return [key, withoutNames(value as object, calls)]
    return [key, PERSONAL.includes(key) && typeof value === 'string' ? calls(value) : value]
  })
  return Object.fromEntries(renamed)
}
