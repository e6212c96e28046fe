import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { type RedisServer, startRedis, startSentinel } from '../contract/redis-server.ts'
import { launch, send } from '../flow/harness.ts'
import { until } from '../flow/until.ts'
import { startCluster } from './cluster.ts'
import type { Balanced } from './nginx.ts'

const BOB = 'bob@bob.localhost:8443'

async function started(): Promise<RedisServer> {
  const redis = await startRedis()
  onTestFinished(() => redis.stop())
  return redis
}

/** No balance: Alice’s cloud reaches the first gateway only. */
async function startWayToFirst(port: number, [first]: readonly Balanced[]) {
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(first?.port ?? 0, '127.0.0.1')
    for (const socket of [near, far]) sockets.add(socket.on('error', () => {}))
    near.pipe(far).pipe(near)
  }).listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    errors: () => '',
    async stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

async function copyShares(from: RedisServer, to: RedisServer): Promise<void> {
  for (const key of await from.admin.keys('ocm:share*'))
    await to.admin.restore(key, 0, await from.admin.dumpBuffer(key))
}

it('what one of two masters revoked ends at the other one, with the sessions that were opened there meanwhile', {
  timeout: 60_000,
}, async () => {
  const [first, second] = [await started(), await started()]
  await second.admin.replicaof('127.0.0.1', first.port)
  const sentinel = await startSentinel(first.port)
  onTestFinished(() => sentinel.stop())
  await second.admin.replicaof('NO', 'ONE')
  // Else it would make the second one a replica again.
  await sentinel.watch(first.port)
  const url = first.url.replace('redis:', 'redis+sentinel:').replace(`:${first.port}/`, `:${sentinel.port}/main/`)
  const cluster = await startCluster([url, second.url], startWayToFirst)
  onTestFinished(() => cluster.close())
  const { alice, replicas, origin, host } = cluster
  const there = { origin, host, port: replicas[1]?.port ?? 0 }

  const share = await alice.share({ shareWith: BOB, notify: false })
  await copyShares(first, second)
  const token = await alice.mintToken({ share })
  const { cookie, status } = await launch(there, token)
  expect(status).toBe(303)
  const visit = async () => (await send(there, '/notes/', { headers: { cookie, accept: 'application/json' } })).status
  const { status: revoked } = await alice.revoke({ sender: alice.address, providerId: share.providerId })
  expect([revoked, await visit()]).toEqual([200, 200])

  await sentinel.watch(second.port)
  for (const type of ['normal', 'pubsub']) await first.admin.call('CLIENT', 'KILL', 'TYPE', type)
  await until('the session has ended', async () => (await visit()) === 401)
  expect((await launch(there, token)).status).toBe(410)
  const warning = await replicas[0]?.event('store.warning')
  expect(warning?.message).toContain('lost 1 of the last writes')
})
