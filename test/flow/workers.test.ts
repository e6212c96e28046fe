import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { startRedis } from '../contract/redis-server.ts'
import { runCommand } from './command.ts'
import { launch, openWebSocket, type Scene, startScene } from './harness.ts'
import { keepSecret } from './leaks.ts'
import { until } from './until.ts'

const TWO = { server: { workers: 2 } }
const metricsOf = async ({ gateway }: Scene) => (await fetch(`${gateway.adminUrl}/metrics`)).text()
const metric = async (scene: Scene, name: string) =>
  Number(new RegExp(`^ocm_gateway_${name} (.+)$`, 'm').exec(await metricsOf(scene))?.[1])
const readiness = async ({ gateway }: Scene) => {
  const response = await fetch(`${gateway.adminUrl}/readyz`)
  return { status: response.status, checks: ((await response.json()) as { checks: Record<string, string> }).checks }
}
const pids = ({ gateway }: Scene) =>
  new Map(gateway.eventsNamed('worker.started').map(({ worker, pid }) => [Number(worker), Number(pid)]))
const pidOf = (scene: Scene, worker: number) => pids(scene).get(worker) ?? 0
const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
const revoke = async ({ alice }: Scene, { share }: { share: { providerId: string } }) =>
  (await alice.revoke({ sender: alice.address, providerId: share.providerId })).status
const sockets = (scene: Scene, opened: { cookie: string }, count: number) =>
  Promise.all(Array.from({ length: count }, () => openWebSocket(scene.gateway, '/notes/live', opened)))
const times = <T>(count: number, work: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, index) => work(index)))

describe('two workers over one SQLite file', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await startScene({ ...TWO, pairing: { limits: { requestsPerMinute: 100_000 } } })
  })
  afterAll(() => scene.close())

  it('are both ready, and say so', async () => {
    expect(await readiness(scene)).toEqual({
      status: 200,
      checks: { 'worker 1': 'ok', 'worker 2': 'ok', accepting: 'ok' },
    })
    expect(pids(scene).size).toBe(2)
    const [listening] = scene.gateway.eventsNamed('listening')
    expect(listening).toMatchObject({ workers: 2, url: `http://127.0.0.1:${scene.gateway.port}` })
  })

  it('both launch, and serve what the other one launched; what they count is one sum', async () => {
    const all = await times(20, () => scene.open())
    for (const opened of all) {
      const statuses = await times(10, async () => (await scene.visit('/notes/page', opened)).status)
      expect(statuses).toEqual(Array(10).fill(200))
    }
    expect(new Set(scene.gateway.eventsNamed('launch.accepted').map(({ worker }) => worker))).toEqual(new Set([1, 2]))
    await times(20, () => scene.send('/notes/page'))
    const refused = scene.gateway.eventsNamed('request.refused').map(({ worker }) => worker)
    expect(new Set(refused)).toEqual(new Set([1, 2]))
    expect(await metric(scene, 'launches_total{webapp="notes",mode="provisioned",result="accepted"}')).toBe(20)
    expect(await metric(scene, 'proxied_requests_total{webapp="notes",code="200"}')).toBe(200)
    expect(await metric(scene, 'sessions_active{webapp="notes"}')).toBe(20)
    const audit = z.fromJSONSchema(JSON.parse(readFileSync('docs/audit.schema.json', 'utf8')))
    const told = scene.gateway.eventsNamed('launch.accepted')
    expect(told.filter((event) => !audit.safeParse(event).success)).toEqual([])
  })

  it('have cut the WebSockets of both when a revocation is answered, every time', async () => {
    for (let round = 0; round < 25; round += 1) {
      const opened = await scene.open()
      const lives = await sockets(scene, opened, 4)
      expect(lives.map(({ status }) => status)).toEqual([101, 101, 101, 101])
      expect(await revoke(scene, opened)).toBe(200)
      // What was sent before the answer has arrived before it; it only has to be looked at.
      await pause(20)
      expect(lives.map(({ socket }) => socket.readyState)).toEqual(Array(4).fill(3))
      const after = await times(4, async () => (await scene.visit('/notes/page', opened)).status)
      expect(after).toEqual([401, 401, 401, 401])
    }
    const told = () => scene.gateway.eventsNamed('session.traffic')
    const carried = () => told().reduce((sum, { requests }) => sum + Number(requests), 0)
    await until('they have told what they carried', () => carried() >= 100)
    expect(new Set(told().map(({ worker }) => worker))).toEqual(new Set([1, 2]))
  })

  it('cut for an operator’s command, too', async () => {
    const opened = await scene.open()
    const lives = await sockets(scene, opened, 2)
    const { providerId } = opened.share
    const config = ['--config', scene.gateway.configFile]
    const { code, stderr } = await runCommand(['shares', 'revoke', scene.alice.domain, providerId, ...config])
    expect(code, stderr).toBe(0)
    await Promise.all(lives.map(({ closed }) => closed))
    expect((await scene.visit('/notes/page', opened)).status).toBe(401)
  })

  it('do as the process says that started them, and not as a terminal says that signals the whole group', async () => {
    for (const name of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
      for (const pid of pids(scene).values()) process.kill(pid, name)
    }
    await scene.open()
    expect(scene.gateway.eventsNamed('worker.ended')).toEqual([])
  })
})

describe('two workers over Redis', () => {
  it('cut the WebSockets of both when a revocation is answered, and go on when one is killed', async () => {
    const redis = await startRedis()
    keepSecret(redis.password)
    const store = `redis://:${encodeURIComponent(redis.password)}@127.0.0.1:${redis.port}/0`
    const scene = await startScene({ ...TWO, store })
    for (let round = 0; round < 5; round += 1) {
      const opened = await scene.open()
      const lives = await sockets(scene, opened, 4)
      expect(await revoke(scene, opened)).toBe(200)
      await pause(20)
      expect(lives.map(({ socket }) => socket.readyState)).toEqual(Array(4).fill(3))
    }
    const opened = await scene.open()
    process.kill(pidOf(scene, 1), 'SIGKILL')
    await scene.gateway.event('worker.ended')
    expect(await revoke(scene, opened)).toBe(200)
    await until('both are ready', async () => (await readiness(scene)).status === 200)
    const after = await times(4, async () => (await scene.visit('/notes/page', opened)).status)
    expect(after).toEqual([401, 401, 401, 401])
    await scene.close()
    await redis.stop()
  })
})

describe('a limit per minute', () => {
  it('is one for both workers', async () => {
    const scene = await startScene({ server: { workers: 2, limits: { failuresPerMinute: 30 } } })
    let refused = 0
    for (let nth = 0; nth < 60; nth += 1) {
      const { status } = await scene.send('/ocm/shares', { method: 'POST', body: '{}' })
      if (status === 429) refused += 1
      await pause(20)
    }
    // A few more may pass before the other knows, and half a one in a second is let through anew.
    expect(refused).toBeGreaterThanOrEqual(20)
    expect(refused).toBeLessThanOrEqual(30)
    await scene.close()
  })
})

describe('a worker that is killed', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await startScene(TWO)
  })
  afterAll(() => scene.close())

  it('is started again, takes only its own connections with it, and nothing that was acknowledged', async () => {
    const opened = await times(4, () => scene.open())
    const [first] = opened
    if (first === undefined) throw new Error('four were opened')
    const lives = await sockets(scene, first, 12)
    const before = await metric(scene, 'launches_total{webapp="notes",mode="provisioned",result="accepted"}')
    const pid = pidOf(scene, 1)
    process.kill(pid, 'SIGKILL')
    const told = await scene.gateway.event('worker.ended')
    expect(told).toMatchObject({ worker: 1, pid, signal: 'SIGKILL' })
    await until('its connections are gone', () => lives.some(({ socket }) => socket.readyState === 3))
    await pause(50)
    const left = lives.filter(({ socket }) => socket.readyState === 1)
    expect(left.length).toBeGreaterThan(0)
    expect(await Promise.all(left.map(({ echo }) => echo('still')))).toEqual(left.map(() => 'still'))
    await until('it is ready again', async () => (await readiness(scene)).status === 200)
    expect(pidOf(scene, 1)).not.toBe(pid)
    for (const each of opened) {
      const statuses = await times(4, async () => (await scene.visit('/notes/page', each)).status)
      expect(statuses).toEqual([200, 200, 200, 200])
    }
    expect(await revoke(scene, first)).toBe(200)
    await Promise.all(left.map(({ closed }) => closed))
    const after = await times(4, async () => (await scene.visit('/notes/page', first)).status)
    expect(after).toEqual([401, 401, 401, 401])
    expect(await metric(scene, 'workers_ended_total')).toBe(1)
    expect(await metric(scene, 'launches_total{webapp="notes",mode="provisioned",result="accepted"}')).toBe(before)
  })

  it('keeps no revocation waiting, though it was killed in the middle of it, again and again', async () => {
    for (let round = 0; round < 3; round += 1) {
      const all = await times(6, () => scene.open())
      const revoking = all.map((opened) => revoke(scene, opened).catch(() => 0))
      process.kill(pidOf(scene, 1 + (round % 2)), 'SIGKILL')
      const answers = await Promise.all(revoking)
      await until('all are ready again', async () => (await readiness(scene)).status === 200, 20)
      for (const [index, opened] of all.entries()) {
        // What got no answer went down with its connection, and may be asked again.
        if (answers[index] !== 200) expect(await revoke(scene, opened)).toBe(200)
        const statuses = await times(4, async () => (await scene.visit('/notes/page', opened)).status)
        expect(statuses).toEqual([401, 401, 401, 401])
      }
    }
  })
})

describe('a worker that hangs', () => {
  it('is not one that waits for a program which has locked the store', async () => {
    const scene = await startScene(TWO)
    const opened = await scene.open()
    const other = new DatabaseSync(join(scene.gateway.folder, 'gateway.db'))
    other.exec('BEGIN IMMEDIATE')
    const share = await scene.token({ share: opened.share })
    const launches = times(30, async () => (await launch(scene.gateway, share)).status)
    await pause(8000)
    other.exec('ROLLBACK')
    other.close()
    expect(await launches).toContain(503)
    expect(scene.gateway.eventsNamed('worker.stuck')).toEqual([])
    expect((await launch(scene.gateway, share)).status).toBe(303)
    await scene.close()
  })

  it('is not ready, holds up a revocation until it is killed, and is started again', async () => {
    const scene = await startScene(TWO)
    const opened = await scene.open()
    const lives = await sockets(scene, opened, 2)
    const pid = pidOf(scene, 2)
    process.kill(pid, 'SIGSTOP')
    const revoking = until('it is answered', async () => (await revoke(scene, opened).catch(() => 0)) === 200, 25)
    const { status, checks } = await readiness(scene)
    expect({ status, checks }).toMatchObject({
      status: 503,
      checks: { 'worker 1': 'ok', 'worker 2': 'does not answer' },
    })
    await revoking
    expect(isAlive(pid)).toBe(false)
    expect(scene.gateway.eventsNamed('worker.stuck')).toMatchObject([{ worker: 2, pid }])
    await Promise.all(lives.map(({ closed }) => closed))
    await until('it is ready again', async () => (await readiness(scene)).status === 200)
    await scene.close()
  })
})

describe('when the process that started the workers', () => {
  it('is killed, they end within a second, and the store is free', async () => {
    const scene = await startScene(TWO)
    const opened = await scene.open()
    const startedAt = performance.now()
    // Is over when nobody can write to its log any more.
    await scene.gateway.kill()
    expect(performance.now() - startedAt).toBeLessThan(1000)
    await scene.gateway.start()
    expect((await scene.visit('/notes/page', opened)).status).toBe(200)
    await scene.close()
  })

  it('is asked to stop, all of them end what is under way, and tell the WebSockets', async () => {
    const scene = await startScene(TWO)
    const opened = await scene.open()
    const lives = await sockets(scene, opened, 4)
    const codes = Promise.all(lives.map(({ socket }) => new Promise((resolve) => socket.once('close', resolve))))
    const answers: (() => void)[] = []
    scene.app.answer('/notes/slow', (_req, res) => void answers.push(() => res.end('done')))
    const slow = times(4, () => scene.visit('/notes/slow', opened))
    await until('the app has all of them', () => answers.length === 4)
    const exit = scene.gateway.terminate()
    await scene.gateway.event('draining')
    expect(await codes).toEqual([1001, 1001, 1001, 1001])
    for (const answer of answers) answer()
    expect((await slow).map(({ status }) => status)).toEqual([200, 200, 200, 200])
    expect(await exit).toEqual({ code: 0, by: null })
    expect([...pids(scene).values()].filter(isAlive)).toEqual([])
    await Promise.all([scene.alice.close(), scene.app.close()])
    scene.gateway.remove()
  })
})

describe('a reload with two workers', () => {
  let scene: Scene
  let good: string
  beforeAll(async () => {
    scene = await startScene({ server: { workers: 2, watchFiles: false } })
    good = readFileSync(scene.gateway.configFile, 'utf8')
  })
  afterAll(() => scene.close())

  const withHeader = (value: string) =>
    good.replace('"kind": "generic"', `"headers": { "X-Changed": "${value}" }, "kind": "generic"`)
  const seen = async (opened: { cookie: string }) => {
    const before = scene.app.requests.length
    await times(8, () => scene.visit('/notes/changed', opened))
    return new Set(scene.app.requests.slice(before).map(({ headers }) => headers['x-changed']))
  }

  it('is taken by both, and sessions go on', async () => {
    const opened = await scene.open()
    const lives = await sockets(scene, opened, 4)
    expect(await scene.gateway.reload(withHeader('first'))).toBe('config.reloaded')
    expect(await seen(opened)).toEqual(new Set(['first']))
    expect(await Promise.all(lives.map(({ echo }) => echo('on')))).toEqual(['on', 'on', 'on', 'on'])
  })

  it('is refused by both when the file is bad, and who starts then has what the other has', async () => {
    const opened = await scene.open()
    expect(await scene.gateway.reload('server: { publicUrll: x }')).toBe('config.refused')
    expect(await metric(scene, 'config_last_reload_successful')).toBe(0)
    expect(await seen(opened)).toEqual(new Set(['first']))
    process.kill(pidOf(scene, 1), 'SIGKILL')
    await scene.gateway.event('worker.ended')
    await until('it is ready again', async () => (await readiness(scene)).status === 200)
    expect(await seen(opened)).toEqual(new Set(['first']))
    expect(await scene.gateway.reload(withHeader('second'))).toBe('config.reloaded')
    expect(await metric(scene, 'config_last_reload_successful')).toBe(1)
    expect(await seen(opened)).toEqual(new Set(['second']))
  })
})

describe('a worker that cannot start', () => {
  it('ends the start, with its reason, once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'workers-'))
    const scene = await startScene()
    const taken = readFileSync(scene.gateway.configFile, 'utf8').replace('"server": {', '"server": {"workers": 2,')
    writeFileSync(join(folder, 'gateway.yaml'), taken)
    const { code, stderr } = await runCommand(['serve', '--config', join(folder, 'gateway.yaml')])
    expect(code).toBe(1)
    expect(stderr.trim().split('\n')).toEqual([expect.stringContaining('EADDRINUSE')])
    await scene.close()
    rmSync(folder, { recursive: true })
  })
})
