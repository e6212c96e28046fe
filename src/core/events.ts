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

/**
 * Every fact the gateway tells, one function each: its name, level and fields live here, so that call sites cannot drift.
 * Fields are ids and codes; never a token, secret, cookie, form body or `Authorization` value.
 */
export function createEvents(log: Logger) {
  const observers: Observer[] = []
  const tell =
    <Fields extends object>(level: 'debug' | 'info' | 'warn' | 'error', event: string) =>
    (fields: Fields) => {
      log[level]({ event, ...fields })
      for (const observe of observers) observe(event, fields as Readonly<Record<string, unknown>>)
    }
  /** Too frequent for the log: for the observers only. */
  const count =
    <Fields extends object>(event: string) =>
    (fields: Fields) => {
      for (const observe of observers) observe(event, fields as Readonly<Record<string, unknown>>)
    }
  return {
    observe: (observer: Observer) => void observers.push(observer),

    listening: tell<{ url: string; adminUrl: string }>('info', 'listening'),
    draining: tell<{ signal: string }>('info', 'draining'),
    stopped: tell<object>('info', 'stopped'),
    configReloaded: tell<{ file: string }>('info', 'config.reloaded'),
    configRefused: tell<{ file: string; problems: readonly string[] }>('error', 'config.refused'),
    signingKeyCreated: tell<{ file: string; kid: string }>('info', 'signing-key.created'),

    launchAccepted: tell<
      Decision & { mode: string; renewed: boolean; permissions: readonly string[]; requirements: readonly string[] }
    >('info', 'launch.accepted'),
    launchRefused: tell<Decision & Refused & { mode?: string }>('warn', 'launch.refused'),
    returnUriIgnored: tell<Decision & { reason: string }>('warn', 'launch.return-uri-ignored'),

    shareStored: tell<Decision & { outcome: string; shares: number }>('info', 'share.stored'),
    shareRevoked: tell<Decision & { outcome: string; seconds: number }>('info', 'share.revoked'),
    shareClosed: tell<Decision & { sessions: number }>('info', 'share.closed'),
    signatureRefused: tell<Decision & Refused>('warn', 'signature.refused'),
    integrationRefused: tell<Decision & Refused & { operation: string }>('warn', 'integration.refused'),
    toleranceUsed: tell<{ senderDomain: string; tolerance: string }>('warn', 'tolerance.used'),

    sessionEnded: tell<{ webapp: string; senderDomain: string; shareId: string; reason: string; cut: number }>(
      'info',
      'session.ended',
    ),
    sessionsNarrowed: tell<{ senderDomain: string; shareId: string; sessions: number }>('info', 'session.narrowed'),
    requestRefused: tell<Decision & Refused & { method: string; host?: string }>('warn', 'request.refused'),

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
    appReleased: tell<{ webapp: string; name: string; seconds: number }>('info', 'app.released'),
    storeFailed: tell<{ operation: string; message: string }>('error', 'store.failed'),
    unexpected: tell<{ requestId?: string; where: string; err: unknown }>('error', 'unexpected'),
  }
}
