import { describe, expect, it } from 'vitest'
import type { Workload } from '../../../../src/store/store.ts'
import { createRig, sessionFor, started, until, userOf } from './rig.ts'

const claimed = async () => true
const unclaimed = async () => false

describe('a release', () => {
  it('deletes the token, stops the server and deletes the user; repeated, it has nothing to do', async () => {
    const rig = await createRig()
    const { session, name } = await started(rig)
    rig.hub.calls.length = 0
    await rig.app.release(session)
    const steps = [`DELETE /users/${name}/tokens/a1`, `DELETE /users/${name}/server`, `DELETE /users/${name}`]
    expect(rig.hub.said()).toEqual(steps)
    expect(rig.hub.users.size).toBe(0)
    expect(await rig.tools.store.workloads.list('notebooks')).toEqual([])
    expect(rig.told.at(-1)?.event).toBe('app.released')
    await rig.app.release(session)
    expect(rig.hub.said()).toEqual(steps)
  })

  it('waits for what the hub is busy with: 400 while something is pending, 202 while it stops, 500 while it knows a server', async () => {
    const rig = await createRig()
    const { session, name } = await started(rig)
    rig.hub.plan(
      `DELETE /users/${name}/server`,
      { status: 400, body: { message: 'is pending spawn' } },
      { status: 202 },
    )
    rig.hub.plan(`DELETE /users/${name}`, { status: 500, body: { message: 'cannot be deleted' } }, { status: 400 })
    rig.hub.calls.length = 0
    await rig.app.release(session)
    const [server, user] = [`DELETE /users/${name}/server`, `DELETE /users/${name}`]
    expect(rig.hub.said().slice(1)).toEqual([server, server, server, user, user, user])
    expect(rig.hub.users.size).toBe(0)
  })

  it.each(['DELETE /users/{name}/tokens/a1', 'DELETE /users/{name}/server', 'DELETE /users/{name}'])(
    'that fails at %s is resumed by the sweep',
    async (step) => {
      const rig = await createRig()
      const { session, name } = await started(rig)
      rig.hub.plan(step.replace('{name}', name), { status: 503 })
      await expect(rig.app.release(session)).rejects.toMatchObject({ reason: 'hub_unavailable' })
      expect(await rig.tools.store.workloads.list('notebooks')).toHaveLength(1)
      await rig.reopen().sweep(unclaimed)
      expect(rig.hub.users.size).toBe(0)
      expect(await rig.tools.store.workloads.list('notebooks')).toEqual([])
    },
  )

  it('finds everything gone already and forgets it', async () => {
    const rig = await createRig()
    const { session } = await started(rig)
    rig.hub.users.clear()
    await rig.app.release(session)
    expect(await rig.tools.store.workloads.list('notebooks')).toEqual([])
  })

  it('cuts a start short: those who wait are told, and no server is left', async () => {
    const rig = await createRig()
    rig.hub.settings.holdStarts = true
    const session = sessionFor(rig.app)
    const name = userOf(session)
    const waiting = rig.app.prepare(session, () => {})
    const told = expect(waiting).rejects.toMatchObject({ status: 410, reason: 'share_closed' })
    await until(() => (rig.hub.users.get(name)?.server?.followers.size ?? 0) > 0)
    const released = rig.app.release(session)
    await told
    // A hub before 5.1 does not stop what is starting: it answers 400 until the server is there.
    await until(() => rig.hub.said().includes(`DELETE /users/${name}/server`))
    rig.hub.finishStart(name)
    await released
    expect(rig.hub.users.size).toBe(0)
    expect(await rig.app.credentials(session)).toBeUndefined()
  })

  it('does not wait for the hub to answer the order of a start', async () => {
    const rig = await createRig()
    Object.assign(rig.hub.settings, { holdStarts: true, holdAnswers: true })
    const session = sessionFor(rig.app)
    const name = userOf(session)
    const told = expect(rig.app.prepare(session, () => {})).rejects.toMatchObject({ reason: 'share_closed' })
    await until(() => rig.hub.users.get(name)?.server !== undefined)
    const released = rig.app.release(session)
    await told
    await until(() => rig.hub.said().includes(`DELETE /users/${name}/server`))
    rig.hub.finishStart(name)
    await released
    expect(rig.hub.users.size).toBe(0)
  })

  it('stops a server whose start was still waiting for its turn', async () => {
    const rig = await createRig()
    const { session, name } = await started(rig)
    const first = rig.app.release(session)
    const waiting = rig.app.prepare(session, () => {})
    const told = expect(waiting).rejects.toMatchObject({ reason: 'share_closed' })
    const second = rig.app.release(session)
    await Promise.all([first, told, second])
    expect(rig.hub.users.has(name)).toBe(false)
  })

  it('lets a launch that follows it start a new server', async () => {
    const rig = await createRig()
    const { session, name } = await started(rig)
    const [, landing] = await Promise.all([rig.app.release(session), rig.app.prepare(session, () => {})])
    expect(landing).toContain(name)
    expect(rig.hub.users.get(name)?.server?.state).toBe('ready')
    expect(await rig.app.credentials(session)).toBeDefined()
  })
})

describe('a sweep', () => {
  it('removes what no session claims and keeps the rest', async () => {
    const rig = await createRig()
    const kept = await started(rig)
    await started(rig, { shareId: 'share-2' })
    await rig.app.sweep(async ({ shareId }: Workload) => shareId === 'share-1')
    expect([...rig.hub.users.keys()]).toEqual([kept.name])
    expect(await rig.app.credentials(kept.session)).toBeDefined()
  })

  it('removes users of ours that the store does not know, at first and every hour, and nobody else', async () => {
    const rig = await createRig()
    const { name } = await started(rig)
    const stray = {
      server: { state: 'ready' as const, userOptions: {}, lastActivity: 0, followers: new Set<never>() },
      failure: undefined,
      tokens: new Map(),
    }
    const addStrays = (digit: string) => rig.hub.users.set(`ocm-${digit.repeat(20)}`, { ...stray })
    const foreign = ['alice', 'ocm-alice', `ocm-${'a'.repeat(21)}`]
    for (const user of foreign) rig.hub.users.set(user, { ...stray })
    addStrays('a')
    addStrays('b')
    await rig.app.sweep(claimed)
    expect([...rig.hub.users.keys()].sort()).toEqual([name, ...foreign].sort())
    addStrays('c')
    await rig.app.sweep(claimed)
    expect(rig.hub.users.size).toBe(5)
    rig.clock.time += 3600
    await rig.app.sweep(claimed)
    expect(rig.hub.users.size).toBe(4)
  })

  it('goes on after a server that fails, and tells of it', async () => {
    const rig = await createRig()
    const { name } = await started(rig)
    const other = await started(rig, { shareId: 'share-2' })
    rig.hub.plan(`DELETE /users/${name}/server`, { status: 418 })
    await rig.app.sweep(unclaimed)
    expect([...rig.hub.users.keys()]).toEqual([name])
    expect(other.name).not.toBe(name)
    expect(rig.told.find(({ event }) => event === 'app.failed')?.fields).toMatchObject({
      name,
      reason: 'hub_unexpected',
    })
    await rig.app.sweep(unclaimed)
    expect(rig.hub.users.size).toBe(0)
  })

  it('gives up while the hub does not answer', async () => {
    const rig = await createRig()
    await started(rig)
    await rig.hub.close()
    await expect(rig.app.sweep(unclaimed)).rejects.toMatchObject({ reason: 'hub_unavailable' })
  })

  it('leaves a server alone that is starting, and one that was claimed meanwhile', async () => {
    const rig = await createRig()
    const { name } = await started(rig, { shareId: 'share-2' })
    let asked = 0
    await rig.app.sweep(async () => ++asked > 1)
    expect(rig.hub.users.get(name)?.server?.state).toBe('ready')
    rig.hub.settings.holdStarts = true
    const session = sessionFor(rig.app)
    const landing = rig.app.prepare(session, () => {})
    await until(() => (rig.hub.users.get(userOf(session))?.server?.followers.size ?? 0) > 0)
    await rig.app.sweep(async ({ shareId }) => shareId === 'share-2')
    rig.hub.finishStart(userOf(session))
    expect(await landing).toContain(userOf(session))
  })
})

describe('a server that nobody uses', () => {
  it('is stopped after stopWhenIdle, keeps its user, and the next request leads to the starting page', async () => {
    const rig = await createRig({ stopWhenIdle: '30m' })
    const { session, name } = await started(rig)
    rig.clock.time += 1700
    await rig.app.sweep(claimed)
    expect(rig.hub.users.get(name)?.server).toBeDefined()
    rig.clock.time += 200
    await rig.app.sweep(claimed)
    expect(rig.hub.users.get(name)).toMatchObject({ server: undefined, tokens: new Map() })
    expect(rig.told.at(-1)?.event).toBe('app.stopped')
    expect(await rig.app.credentials(session)).toBeUndefined()
    expect(await rig.app.ready(session)).toBeUndefined()
    expect(await rig.app.prepare(session, () => {})).toContain(name)
  })

  it.each(['a request', 'the hub’s account of its kernels'])('is kept by %s', async (what) => {
    const rig = await createRig({ stopWhenIdle: '30m' })
    const { session, name } = await started(rig)
    rig.clock.time += 1700
    const server = rig.hub.users.get(name)?.server
    if (what === 'a request') rig.app.authorize(session, { method: 'GET', path: 'lab', upgrade: false })
    else if (server !== undefined) server.lastActivity = rig.clock.time
    rig.clock.time += 1700
    await rig.app.sweep(claimed)
    expect(rig.hub.users.get(name)?.server).toBe(server)
  })
})
