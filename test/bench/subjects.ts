import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startRedis } from '../contract/redis-server.ts'
import { startGateway } from './gateway.ts'
import { messageOf, startWorker } from './processes.ts'
import {
  type Place,
  startBareProxy,
  startCaddy,
  startConfigurableHttpProxy,
  startHaproxy,
  startNginx,
  type Way,
} from './proxies.ts'
import { startNginxWithSessions, startOauth2Proxy } from './session-proxies.ts'

/** In the order of the tables: those that let everybody in, those that look at a session, and what this gateway is built on, alone. */
export const SUBJECTS = [
  'app',
  'nginx',
  'haproxy',
  'caddy',
  'configurable-http-proxy',
  'nginx-auth-request',
  'oauth2-proxy',
  'gateway',
  'gateway-redis',
  'node-undici',
] as const

export type SubjectName = (typeof SUBJECTS)[number]

/** One way to the app. */
export interface Subject extends Way {
  readonly name: SubjectName
}

/** What to start, and how. */
export interface Wish {
  readonly names: readonly SubjectName[]
  /** For the gateway’s own Node, such as `--cpu-prof`. */
  readonly gatewayFlags?: readonly string[]
}

/** Starts the app and the ways to it. What cannot be installed is left out, and said. */
export async function startSubjects({ names, gatewayFlags = [] }: Wish, say: (line: string) => void) {
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-bench-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const app = opened.use(startWorker(new URL('./upstream-app.ts', import.meta.url)))
  const appPort = await messageOf<number>(app.worker)
  const subjects: Subject[] = []
  for (const name of SUBJECTS.filter((each) => names.includes(each))) {
    if (name === 'app') {
      subjects.push({ name, pid: app.pid, port: appPort, headers: { Host: 'app.localhost' } })
      continue
    }
    const place = { appPort, folder: join(folder, name), gatewayFlags, opened }
    const started = await STARTS[name](place).catch((error: Error) => {
      if (name.startsWith('gateway')) throw error
      say(`${name} is left out: ${error.message}`)
    })
    if (started) subjects.push({ name, ...started })
  }
  return { subjects, resources: opened.move() }
}

const STARTS: Record<Exclude<SubjectName, 'app'>, (place: Place) => Promise<Way>> = {
  nginx: startNginx,
  haproxy: startHaproxy,
  caddy: startCaddy,
  'configurable-http-proxy': startConfigurableHttpProxy,
  'nginx-auth-request': startNginxWithSessions,
  'oauth2-proxy': startOauth2Proxy,
  gateway: startGatewaySubject,
  'gateway-redis': startGatewayWithRedis,
  'node-undici': startBareProxy,
}

/** With one share that was provisioned and launched as usual. */
async function startGatewaySubject({ appPort, folder, gatewayFlags: flags, opened }: Place, store?: string) {
  const gateway = opened.use(await startGateway({ appPort, folder, flags, ...(store ? { store } : {}) }))
  const { headers } = await gateway.open()
  return { pid: gateway.pid, port: gateway.port, headers }
}

async function startGatewayWithRedis(place: Place): Promise<Way> {
  const redis = place.opened.adopt(await startRedis(), (server) => server.stop())
  return { ...(await startGatewaySubject(place, redis.url)), beside: redis.pid }
}
