import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Events } from '../core/events.ts'
import { createContentMetrics } from './content-metrics.ts'
import { createRequestMetrics } from './request-metrics.ts'

/** What is counted at the moment of a scrape. */
export interface Gauges {
  readonly sessions: () => Promise<readonly { webapp: string; count: number }[]>
  readonly shares: () => Promise<readonly { domain: string; count: number }[]>
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Prometheus metrics, made from the events. OCM addresses, tokens and share ids are never labels. */
export function createMetrics(events: Events, { sessions, shares }: Gauges): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, prefix: 'ocm_gateway_' })
  const registers = [registry]
  const counter = (name: string, help: string, labelNames: string[]) =>
    new Counter({ name: `ocm_gateway_${name}`, help, labelNames, registers })

  const launches = counter('launches_total', 'Launches, by result (accepted, or the reason of the refusal)', [
    'webapp',
    'mode',
    'result',
  ])
  const integration = counter('integration_requests_total', 'Back-channel requests, by result', ['operation', 'result'])
  const upstreamFailures = counter('upstream_failures_total', 'Requests that an app did not answer', [
    'webapp',
    'reason',
  ])
  const refused = counter('requests_refused_total', 'Requests below a webapp that were refused', ['reason'])
  const connections = counter('connections_refused_total', 'Connections beyond what one address may have open', [])
  const jwks = counter('jwks_fetches_total', 'Fetches of a pairing’s keys', ['domain', 'result'])
  const introspections = counter('introspections_total', 'Questions to introspection endpoints', ['domain', 'result'])
  const ended = counter('sessions_ended_total', 'Sessions that ended, by reason', ['webapp', 'reason'])
  const reloads = counter('config_reloads_total', 'Reloads of the configuration', ['result'])
  const workersEnded = counter('workers_ended_total', 'Workers that ended by themselves, or had to be killed', [])
  const reloaded = new Gauge({
    name: 'ocm_gateway_config_last_reload_successful',
    help: '1: the configuration in use is the one in the file, as it was read last; 0: that one was refused',
    aggregator: 'min',
    registers,
  })
  reloaded.set(1)
  const proxied = createRequestMetrics(registry, {
    total: { name: 'ocm_gateway_proxied_requests_total', help: 'Requests that an app answered' },
    duration: {
      name: 'ocm_gateway_proxied_request_duration_seconds',
      help: 'From the request to the end of the answer',
    },
    buckets: SECONDS,
  })
  const webSockets = new Gauge({
    name: 'ocm_gateway_websockets_active',
    help: 'Open WebSockets',
    labelNames: ['webapp'],
    registers,
  })
  const cut = new Histogram({
    name: 'ocm_gateway_revocation_cut_seconds',
    help: 'From a verified revocation to the last connection cut in this process',
    buckets: SECONDS,
    registers,
  })
  const storeSeconds = new Histogram({
    name: 'ocm_gateway_store_operation_duration_seconds',
    help: 'Store operations',
    labelNames: ['operation'],
    buckets: SECONDS,
    registers,
  })
  new Gauge({
    name: 'ocm_gateway_sessions_active',
    help: 'Live sessions',
    labelNames: ['webapp'],
    aggregator: 'first',
    registers,
    async collect() {
      for (const { webapp, count } of await sessions()) this.set({ webapp }, count)
    },
  })
  new Gauge({
    name: 'ocm_gateway_shares_stored',
    help: 'Share Records',
    labelNames: ['domain'],
    aggregator: 'first',
    registers,
    async collect() {
      for (const { domain, count } of await shares()) this.set({ domain }, count)
    },
  })

  type Fields = Readonly<Record<string, string & number>>
  const on: Record<string, (fields: Fields) => void> = {
    ...createContentMetrics(registry),
    'launch.accepted': ({ webapp = '', mode = '' }) => launches.inc({ webapp, mode, result: 'accepted' }),
    'launch.refused': ({ webapp = '', reason = '' }) => launches.inc({ webapp, mode: '', result: reason }),
    'share.stored': ({ outcome = '' }) => integration.inc({ operation: 'shares', result: outcome }),
    'share.revoked': ({ outcome = '', seconds = 0 }) => {
      integration.inc({ operation: 'revoke', result: outcome })
      cut.observe(Number(seconds))
    },
    'share.closed': () => integration.inc({ operation: 'close', result: 'closed' }),
    'integration.refused': ({ operation = '', reason = '' }) => integration.inc({ operation, result: reason }),
    'request.refused': ({ reason = '' }) => refused.inc({ reason }),
    'connection.refused': () => connections.inc(),
    'session.ended': ({ webapp = '', reason = '' }) => ended.inc({ webapp, reason }),
    'config.reloaded': () => {
      reloads.inc({ result: 'ok' })
      reloaded.set(1)
    },
    'config.refused': () => {
      reloads.inc({ result: 'refused' })
      reloaded.set(0)
    },
    'worker.ended': () => workersEnded.inc(),
    'keys.fetched': ({ domain = '', result = '' }) => jwks.inc({ domain, result }),
    'keys.failed': ({ domain = '', result = '' }) => jwks.inc({ domain, result }),
    'introspection.answered': ({ domain = '', result = '' }) => introspections.inc({ domain, result }),
    'introspection.failed': ({ domain = '', result = '' }) => introspections.inc({ domain, result }),
    'upstream.failed': ({ webapp = '', reason = '' }) => upstreamFailures.inc({ webapp, reason }),
    'websocket.opened': ({ webapp = '' }) => webSockets.inc({ webapp }),
    'websocket.closed': ({ webapp = '' }) => webSockets.dec({ webapp }),
    'store.operation': ({ operation = '', seconds = 0 }) => storeSeconds.observe({ operation }, Number(seconds)),
    proxied: ({ webapp = '', code = 0, seconds = 0 }) => proxied.observe(String(webapp), Number(code), Number(seconds)),
  }
  events.observe((event, fields) => on[event]?.(fields as Fields))
  return registry
}
