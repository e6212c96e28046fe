import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { freePort } from '../../src/demo/listen.ts'
import { type SendingServer, startSendingServer } from '../../src/demo/sending-server.ts'
import { type GatewayProcess, startGatewayProcess } from '../flow/gateway-process.ts'
import { pairWith } from '../flow/harness.ts'
import { type Balanced, startNginx } from './nginx.ts'
import { startTellingApp, type TellingApp } from './telling-app.ts'

const PLENTY = 1_000_000
const PATIENCE_MS = 30_000

interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface Answered {
  /** 0: none came. */
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Identical gateways over one store behind a balancer, an app, and Alice’s cloud. Everybody knows them by its address. */
export interface Cluster {
  readonly alice: SendingServer
  readonly app: TellingApp
  readonly replicas: readonly GatewayProcess[]
  readonly origin: string
  readonly host: string
  /** Of the balancer. */
  readonly port: number
  /** A request through the balancer. Does not reject. */
  ask(path: string, asked?: Asked): Promise<Answered>
  /** What the balancer could not do. */
  errors(): string
  close(): Promise<void>
}

/** @param stores where each replica finds the store */
export async function startCluster(stores: readonly string[], startBalancer = startNginx): Promise<Cluster> {
  const [alice, app, port] = await Promise.all([startSendingServer(), startTellingApp(), freePort()])
  const host = `apps.localhost:${port}`
  const origin = `http://${host}`
  const limits = { requestsPerMinute: PLENTY, shares: PLENTY, sessions: PLENTY }
  const replicas: GatewayProcess[] = []
  const balanced: Balanced[] = []
  for (const store of stores) {
    const first = replicas[0]?.folder
    const adminPort = await freePort()
    const server = {
      publicUrl: origin,
      adminListen: `127.0.0.1:${adminPort}`,
      trustedProxies: ['127.0.0.1'],
      limits: { failuresPerMinute: PLENTY },
      drainDelay: '500ms',
      ...(first && { signingKeyFile: join(first, 'signing-key.json') }),
    }
    const replica = await startGatewayProcess(() => ({
      server,
      store,
      ocmServers: [{ domain: alice.domain, limits }],
      webapps: [{ name: 'notes', kind: 'generic', publicUrl: `${origin}/notes/`, upstream: `${app.url}notes/` }],
    }))
    replicas.push(replica)
    balanced.push({ port: replica.port, adminPort })
  }
  const balancer = await startBalancer(port, balanced)
  pairWith(alice, { origin, host, port })
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  return {
    ...{ alice, app, replicas, origin, host, port },
    ask: (path, asked = {}) => ask({ agent, port, host, path }, asked),
    errors: balancer.errors,
    async close() {
      agent.destroy()
      await balancer.stop()
      // The first one has the key of all.
      for (const replica of replicas.toReversed()) await replica.stop()
      await Promise.all([alice.close(), app.close()])
    },
  }
}

function ask(
  { host, ...to }: { agent: Agent; port: number; host: string; path: string },
  { method = 'GET', headers, body }: Asked,
): Promise<Answered> {
  const none = { status: 0, headers: {}, body: '' }
  return new Promise((resolve) => {
    const sent = request({ ...to, method, headers: { host, ...headers }, timeout: PATIENCE_MS }, async (response) => {
      const answered = { status: response.statusCode ?? 0, headers: response.headers }
      resolve(
        await text(response).then(
          (whole) => ({ ...answered, body: whole }),
          () => none,
        ),
      )
    })
    sent.on('error', () => resolve(none)).on('timeout', () => sent.destroy())
    sent.end(body)
  })
}
