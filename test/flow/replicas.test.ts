import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openPassage } from '../contract/redis-server.ts'
import { openWebSocket, send } from './harness.ts'
import { type Replicas, startReplicas } from './replicas.ts'

const UNAVAILABLE = { status: 503, reason: 'store_unavailable' }
const NO_SESSION = { status: 401, reason: 'no_session' }

describe('two gateways over one Redis', () => {
  let scene: Replicas
  let passage: Awaited<ReturnType<typeof openPassage>>
  const both = () => {
    const [here, there] = scene.replicas
    if (here === undefined || there === undefined) throw new Error('two replicas')
    return [here, there] as const
  }
  const visit = (at: (typeof scene.replicas)[number], { cookie }: { cookie: string }) =>
    send(at, '/notes/page', { headers: { cookie, accept: 'application/json' } })
  const outcome = async (...args: Parameters<typeof visit>) => {
    const { status, body } = await visit(...args)
    return status === 200 ? { status } : { status, reason: JSON.parse(body.toString()).reason }
  }

  beforeAll(async () => {
    scene = await startReplicas(async ({ port }) => {
      passage = await openPassage(port)
      return [port, passage.port]
    })
  })
  afterAll(async () => {
    await scene.close()
    await passage.close()
  })

  it('serve each other’s sessions, requests and WebSockets alike', async () => {
    const [here, there] = both()
    const opened = await scene.open(here)
    expect((await visit(there, opened)).status).toBe(200)
    const live = await openWebSocket(there, '/notes/live', opened)
    expect(await live.echo('hello')).toBe('hello')
    live.socket.close()
  })

  it.each([
    { through: 'the one that opened it', index: 0 },
    { through: 'the other', index: 1 },
  ])('cut the sockets of both, before the answer, when a share is revoked through $through', async ({ index }) => {
    const [here, there] = both()
    const opened = await scene.open(here)
    const lives = await Promise.all([here, there].map((at) => openWebSocket(at, '/notes/live', opened)))
    for (const at of [here, there]) expect((await visit(at, opened)).status).toBe(200)
    expect(await scene.revoke(both()[index] ?? here, opened.share)).toBe(200)
    for (const at of [here, there]) expect(await outcome(at, opened)).toEqual(NO_SESSION)
    await Promise.all(lives.map(({ closed }) => closed))
  })

  it('ask Redis nothing for the requests of a live session', async () => {
    const [here, there] = both()
    const opened = await scene.open(here)
    for (const at of [here, there]) expect((await visit(at, opened)).status).toBe(200)
    const before = await scene.redis.commands()
    for (let round = 0; round < 50; round += 1) {
      for (const at of [here, there]) expect((await visit(at, opened)).status).toBe(200)
    }
    const after = await scene.redis.commands()
    const asked = (name: string) => (after[name] ?? 0) - (before[name] ?? 0)
    expect({ hgetall: asked('hgetall'), get: asked('get'), hset: asked('hset') }).toEqual({
      hgetall: 0,
      get: 0,
      hset: 0,
    })
  })

  it('narrow a session for both when its share is replaced', async () => {
    const [here, there] = both()
    const opened = await scene.open(here)
    const live = await openWebSocket(there, '/notes/live', opened)
    expect(live.status).toBe(101)
    const narrower = scene.alice.notification({ ...opened.share, permissions: ['view'] })
    expect((await scene.alice.provision(narrower)).status).toBe(201)
    await live.closed
    expect((await openWebSocket(there, '/notes/live', opened)).status).toBe(403)
  })
  it('serve no revoked share, though one of them is cut off from Redis, and make up for it after', async () => {
    const [here, there] = both()
    const opened = await scene.open(here)
    const live = await openWebSocket(there, '/notes/live', opened)
    expect((await visit(there, opened)).status).toBe(200)
    passage.block()
    const startedAt = performance.now()
    expect(await scene.revoke(here, opened.share)).toBe(200)
    expect(performance.now() - startedAt).toBeLessThan(3000)
    const refused = await visit(there, opened)
    expect(refused.header('set-cookie')).toBeUndefined()
    expect({ status: refused.status, reason: JSON.parse(refused.body.toString()).reason }).toEqual(UNAVAILABLE)
    passage.unblock()
    await live.closed
    await expect.poll(() => outcome(there, opened), { timeout: 10_000 }).toEqual(NO_SESSION)
  })

  it('let nobody in while Redis is gone, clear nobody’s cookie, and go on by themselves', async () => {
    const [here, there] = both()
    const opened = await scene.open(here)
    const live = await openWebSocket(there, '/notes/live', opened)
    const ready = async ({ process }: typeof here) => (await fetch(`${process.adminUrl}/readyz`)).status
    await scene.redis.kill()
    for (const at of [here, there]) {
      await expect.poll(() => outcome(at, opened)).toEqual(UNAVAILABLE)
      expect((await visit(at, opened)).header('set-cookie')).toBeUndefined()
      expect(await ready(at)).toBe(503)
      const headers = { cookie: opened.cookie, origin: here.origin }
      const logout = await send(at, '/notes/.ocm/logout', { method: 'POST', headers })
      expect([logout.status, logout.header('set-cookie')]).toEqual([503, undefined])
      await expect(scene.open(at, opened.share)).rejects.toThrow('refused: 503')
    }
    await scene.redis.restart()
    for (const at of [here, there]) {
      await expect.poll(() => outcome(at, opened), { timeout: 10_000 }).toEqual({ status: 200 })
      expect(await ready(at)).toBe(200)
      expect(at.process.alive).toBe(true)
    }
    expect(await live.echo('still here')).toBe('still here')
    live.socket.close()
  })
})
