import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import {
  type SendingServer,
  type SentShare,
  type ShareWish,
  startSendingServer,
} from '../../src/demo/sending-server.ts'
import { signRequest } from '../../src/trust/http-signature.ts'
import { type RedisServer, startRedis } from '../contract/redis-server.ts'
import { type Address, type GatewayProcess, startGatewayProcess } from './gateway-process.ts'
import { BOB, launch, pairWith, send } from './harness.ts'
import { keepSecret } from './leaks.ts'
import { startRecorder } from './recorder.ts'

export type Replicas = Awaited<ReturnType<typeof startReplicas>>

/** One of several identical gateways: everybody knows them by the address of the balancer, and `port` is its own. */
interface Replica extends Address {
  readonly process: GatewayProcess
}

/**
 * Alice’s cloud, an app that records, and gateways that share one Redis, behind one address.
 *
 * @param redisPorts where each gateway reaches Redis
 */
export async function startReplicas(
  redisPorts: (redis: RedisServer) => readonly number[] | Promise<readonly number[]>,
) {
  const [alice, app, redis] = await Promise.all([startSendingServer(), startRecorder(), startRedis()])
  keepSecret(redis.password)
  const balancer = await startBalancer()
  const { origin, host } = balancer
  const replicas: Replica[] = []
  for (const redisPort of await redisPorts(redis)) {
    const first = replicas[0]?.process.folder
    const process = await startGatewayProcess(() => ({
      server: { publicUrl: origin, ...(first && { signingKeyFile: join(first, 'signing-key.json') }) },
      store: `redis://:${encodeURIComponent(redis.password)}@127.0.0.1:${redisPort}/0`,
      ocmServers: [{ domain: alice.domain, limits: { requestsPerMinute: 100_000 } }],
      webapps: [{ name: 'notes', kind: 'generic', publicUrl: `${origin}/notes/`, upstream: `${app.url}notes/` }],
    }))
    replicas.push({ origin, host, port: process.port, process })
  }
  balancer.goTo(replicas[0]?.port ?? 0)
  pairWith(alice, balancer)

  const share = async (wish: ShareWish = {}) => {
    const made = await alice.share({ shareWith: BOB, notify: false, ...wish })
    keepSecret(made.sharedSecret)
    return made
  }
  /** A request of Alice’s cloud, at one replica. @param created when it was signed, epoch seconds */
  async function backChannel(at: Address, path: string, document: object, created = Date.now() / 1000) {
    const body = JSON.stringify(document)
    const message = { method: 'POST', url: `${origin}/ocm/${path}`, body: Buffer.from(body) }
    const headers = { 'Content-Type': 'application/json', ...signRequest(message, alice.keys.current, created) }
    return send(at, `/ocm/${path}`, { method: 'POST', headers: { ...headers, 'content-length': undefined }, body })
  }
  return {
    alice,
    app,
    redis,
    replicas,
    share,
    /** Opens a share in a new browser, at one replica. @throws {Error} unless the launch succeeds */
    async open(at: Address, made?: Awaited<ReturnType<SendingServer['share']>>) {
      const opening = made ?? (await share())
      const token = keepSecret(await alice.mintToken({ share: opening }))
      const launched = await launch(at, token)
      if (launched.status !== 303) throw new Error(`refused: ${launched.status} ${launched.response.body}`)
      return { ...launched, share: opening, token }
    },
    announce: (at: Address, made: SentShare, created?: number) =>
      backChannel(at, 'shares', alice.notification(made), created),
    /** @returns the status of the answer */
    async revoke(at: Address, { providerId }: { providerId: string }): Promise<number> {
      return (await backChannel(at, 'revoke', { sender: alice.address, providerId })).status
    },
    async close(): Promise<void> {
      await Promise.all(replicas.map(({ process }) => process.stop()))
      await Promise.all([alice.close(), app.close(), redis.stop(), balancer.close()])
    },
  }
}

/** Hands each new connection to the port that was named last. */
async function startBalancer() {
  let target = 0
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    near.pipe(far).on('error', () => near.destroy())
    far.pipe(near).on('error', () => far.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    host: `apps.localhost:${port}`,
    origin: `http://apps.localhost:${port}`,
    goTo(next: number): void {
      target = next
    },
    async close(): Promise<void> {
      server.close()
      await once(server, 'close')
    },
  }
}
