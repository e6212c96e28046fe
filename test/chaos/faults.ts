import { setTimeout as pause } from 'node:timers/promises'
import type { openPassage, RedisServer } from '../contract/redis-server.ts'
import { until } from '../flow/until.ts'
import type { Cluster } from './cluster.ts'
import type { Random } from './random.ts'
import type { Part, Troubles } from './troubles.ts'

/** Something that is broken on purpose, and made whole again before it resolves. */
export interface Fault {
  readonly name: string
  readonly part: Part
  run(): Promise<void>
}

/** Seconds: within what tokens and signatures may differ by, and beyond. What is served and what is revoked must not depend on it. */
const CLOCKS_OFF = [20, -20, 120, -120]

/**
 * On a busy machine a Sentinel may take the pause of its own process for a jump of the clock, and then rests for 30 s (TILT),
 * or that of the new master for its death, so that a third one follows.
 */
const FAILOVER_SECONDS = 120

type Passage = Awaited<ReturnType<typeof openPassage>>

export function replicaFaults({ replicas }: Cluster, random: Random): Fault[] {
  const some = () => random.of(replicas) as (typeof replicas)[number]
  return [
    {
      name: 'a replica is killed',
      part: 'replica',
      async run() {
        const replica = some()
        await replica.kill()
        await pause(random.between(100, 1500))
        await replica.start()
      },
    },
    {
      name: 'a replica is restarted',
      part: 'restart',
      async run() {
        const replica = some()
        await replica.terminate()
        await replica.start()
      },
    },
    {
      name: 'a replica runs with a wrong clock',
      part: 'clock',
      async run() {
        const replica = some()
        await replica.terminate()
        await replica.start({ clockOff: random.of(CLOCKS_OFF) ?? 0 })
        await pause(random.between(2000, 4000))
        await replica.terminate()
        await replica.start()
      },
    },
  ]
}

export function redisFaults(redis: RedisServer, random: Random): Fault[] {
  return [
    {
      name: 'Redis is killed',
      part: 'store',
      async run() {
        await redis.kill()
        await pause(random.between(0, 2000))
        await redis.restart()
      },
    },
    {
      name: 'Redis is paused',
      part: 'store',
      async run() {
        redis.pause()
        await pause(random.between(100, 4000))
        redis.resume()
      },
    },
  ]
}

export function networkFaults(passages: readonly Passage[], random: Random): Fault[] {
  const some = () => random.of(passages) as Passage
  return [
    {
      name: 'a replica reaches Redis no more',
      part: 'store',
      async run() {
        const passage = some()
        passage.block()
        await pause(random.between(100, 4000))
        passage.unblock()
      },
    },
    {
      name: 'a replica loses its connections to Redis',
      part: 'store',
      run: async () => some().cut(),
    },
  ]
}

/** Of several that Sentinels watch. */
export function failovers(servers: readonly RedisServer[], random: Random, troubles: Troubles): Fault[] {
  const roleOf = async ({ admin }: RedisServer) => (await admin.role())[0]
  const replicasOf = async (master: RedisServer) => ((await master.admin.role())[2] as unknown[]).length
  async function master(): Promise<RedisServer> {
    for (const server of servers) if ((await roleOf(server)) === 'master') return server
    throw new Error('there is no master')
  }
  const others = (old: RedisServer) => servers.filter((server) => server !== old)
  /** One of some, which must be up, with so many replicas: while others still follow the old master, it is one too. */
  const leaderOf = (some: readonly RedisServer[], replicas: number) =>
    until(
      `one leads ${replicas} others`,
      async () => {
        for (const server of some) {
          if ((await roleOf(server)) === 'master' && (await replicasOf(server)) === replicas) return server
        }
        return undefined
      },
      FAILOVER_SECONDS,
    )
  const anotherThan = (old: RedisServer) => leaderOf(others(old), servers.length - 2)
  const whole = () => leaderOf(servers, servers.length - 1)
  return [
    {
      name: 'the master is killed',
      part: 'store',
      async run() {
        const old = await master()
        await old.kill()
        await anotherThan(old)
        await old.restart()
        await whole()
      },
    },
    {
      name: 'the master is paused until another one takes its place',
      part: 'store',
      async run() {
        const old = await master()
        old.pause()
        await anotherThan(old)
        await pause(random.between(0, 1500))
        old.resume()
        await whole()
      },
    },
    {
      name: 'the master is paused, and comes back the moment another one takes its place',
      part: 'store',
      async run() {
        const split = troubles.begin('split')
        const old = await master()
        old.pause()
        await until(
          'another one is a master',
          async () => (await Promise.all(others(old).map(roleOf))).includes('master'),
          FAILOVER_SECONDS,
        )
        old.resume()
        await anotherThan(old)
        // From here on the old one has no replica, so that it soon takes no writes.
        split()
        await whole()
      },
    },
  ]
}
