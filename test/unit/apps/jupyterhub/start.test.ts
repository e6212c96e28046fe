import { describe, expect, it } from 'vitest'
import { createRig, sessionFor, started, until, userOf } from './rig.ts'

describe('a start', () => {
  it('makes the user, starts its server, follows the progress and mints one token', async () => {
    const { app, hub } = await createRig()
    const session = sessionFor(app)
    const name = userOf(session)
    expect(await app.ready(session)).toBeUndefined()
    expect(await app.prepare(session, () => {})).toBe(`/jupyter/user/${name}/lab/tree/analysis.ipynb`)
    expect(name).toMatch(/^ocm-[0-9a-f]{20}$/)
    const [order, follow, mint] = [`/users/${name}/server`, `/users/${name}/server/progress`, `/users/${name}/tokens`]
    expect(hub.said()).toEqual([`POST /users/${name}`, `POST ${order}`, `GET ${follow}`, `POST ${mint}`])
    expect(hub.calls.at(-1)?.body).toEqual({
      note: 'ocm-webapp-gateway',
      expires_in: 3600,
      scopes: [`access:servers!server=${name}/`],
    })
  })

  it('is reported as the hub tells it, and as an event', async () => {
    const { app, hub, told } = await createRig()
    hub.settings.holdStarts = true
    const session = sessionFor(app)
    const heard: string[] = []
    const landing = app.prepare(session, ({ percent, message }) => heard.push(`${percent} ${message}`))
    await until(() => heard.length === 2)
    hub.finishStart(userOf(session))
    await landing
    expect(heard).toEqual(['0 Server requested', '50 Spawning server...'])
    expect(told).toEqual([{ event: 'app.started', fields: { webapp: 'notebooks', name: userOf(session), seconds: 0 } }])
  })

  it('is reported while the hub still holds its answer to the order back', async () => {
    const { app, hub } = await createRig()
    Object.assign(hub.settings, { holdStarts: true, holdAnswers: true })
    const session = sessionFor(app)
    const heard: number[] = []
    const landing = app.prepare(session, ({ percent }) => heard.push(percent))
    await until(() => heard.length === 2)
    hub.finishStart(userOf(session))
    expect(await landing).toContain(userOf(session))
    expect(heard).toEqual([0, 50])
  })

  it('is joined by everyone who launches the same share: one server, everybody hears of it, nobody twice', async () => {
    const { app, hub } = await createRig()
    hub.settings.holdStarts = true
    const session = sessionFor(app)
    const heard = Array.from({ length: 20 }, () => [] as number[])
    const landings = heard.map((own) => app.prepare(session, ({ percent }) => own.push(percent)))
    await until(() => heard.every((own) => own.length === 2))
    const late: number[] = []
    landings.push(app.prepare(session, ({ percent }) => late.push(percent)))
    hub.finishStart(userOf(session))
    expect(new Set(await Promise.all(landings)).size).toBe(1)
    expect(heard).toEqual(Array(20).fill([0, 50]))
    expect(late).toEqual([50])
    expect(hub.said().filter((call) => call.startsWith('POST'))).toHaveLength(3)
  })

  it('gives each share, person and record its own user', async () => {
    const { app } = await createRig()
    const wishes = [{}, { shareId: 'share-2' }, { user: 'carol@receiver.example' }, { instance: 'made-anew' }]
    expect(new Set(wishes.map((wish) => userOf(sessionFor(app, wish)))).size).toBe(4)
  })

  it('fills the spawner options in from the share', async () => {
    const serverOptions = {
      profile: 'small',
      mounts: [{ path: '/{shareId}', of: '{owner} for {user}' }],
      cpu: 2,
      file: '{resourceName}',
      may: '{permissions}',
    }
    const rig = await createRig({ serverOptions })
    const { name } = await started(rig, { permissions: ['view', 'read'] })
    expect(rig.hub.users.get(name)?.server?.userOptions).toEqual({
      profile: 'small',
      mounts: [{ path: '/share-1', of: 'alice@sender.example for bob@receiver.example' }],
      cpu: 2,
      file: 'analysis.ipynb',
      may: 'view,read',
    })
  })

  it('finds a running server running: the launch lands at once, asking the hub only every few seconds', async () => {
    const rig = await createRig()
    const { session, name } = await started(rig)
    rig.hub.calls.length = 0
    expect(await rig.app.ready(session)).toBe(`/jupyter/user/${name}/lab/tree/analysis.ipynb`)
    expect(await rig.app.ready(session)).toBe(`/jupyter/user/${name}/lab/tree/analysis.ipynb`)
    expect(rig.hub.said()).toEqual([`GET /users/${name}`])
    rig.clock.time += 5
    rig.hub.users.set(name, { server: undefined, failure: undefined, tokens: new Map() })
    expect(await rig.app.ready(session)).toBeUndefined()
  })

  it('takes a server that runs already, and replaces its token', async () => {
    const rig = await createRig()
    const { session, name } = await started(rig)
    await rig.app.prepare(session, () => {})
    const tokens = [...(rig.hub.users.get(name)?.tokens.values() ?? [])]
    expect(tokens).toHaveLength(1)
    expect(await rig.app.credentials(session)).toEqual({ authorization: `token ${tokens[0]?.token}` })
  })

  it('orders again while an earlier server of the user is stopping', async () => {
    const { app, hub } = await createRig()
    const session = sessionFor(app)
    const name = userOf(session)
    const stopping = { name, servers: { '': { ready: false, pending: 'stop' } } }
    hub.plan(`POST /users/${name}/server`, { status: 400, body: { message: 'pending stop' } })
    hub.plan(`GET /users/${name}`, { status: 200, body: stopping })
    expect(await app.prepare(session, () => {})).toContain(name)
    expect(hub.said().filter((call) => call === `POST /users/${name}/server`)).toHaveLength(2)
  })
})

describe('a start that fails', () => {
  it('shows the hub’s own words, and the next attempt may succeed', async () => {
    const { app, hub, told } = await createRig()
    hub.settings.holdStarts = true
    const session = sessionFor(app)
    const name = userOf(session)
    const failing = app.prepare(session, () => {})
    await until(() => (hub.users.get(name)?.server?.followers.size ?? 0) > 0)
    hub.failStart(name, 'no\u0007 such image\n<b>notebook:9</b>')
    await expect(failing).rejects.toMatchObject({
      status: 502,
      reason: 'spawn_failed',
      message: 'The notebook server did not start: no such image <b>notebook:9</b>',
    })
    expect(told.map(({ event }) => event)).toEqual(['app.failed'])
    expect(await app.credentials(session)).toBeUndefined()
    hub.settings.holdStarts = false
    expect(await app.prepare(session, () => {})).toContain(name)
  })

  it('finds the words also when the hub answers the order itself with 500', async () => {
    const { app, hub } = await createRig()
    const session = sessionFor(app)
    const name = userOf(session)
    hub.plan(`POST /users/${name}/server`, { status: 500, body: { message: 'Internal Server Error' } })
    hub.plan(`GET /users/${name}/server/progress`, {
      status: 200,
      body: 'data: {"progress": 100, "failed": true, "message": "Spawn failed: boom in pre_spawn_hook"}\n\n',
    })
    await expect(app.prepare(session, () => {})).rejects.toThrow(
      'The notebook server did not start: boom in pre_spawn_hook',
    )
  })

  it('gives the hub’s refusal of the order when there is no progress to follow', async () => {
    const { app, hub } = await createRig()
    const session = sessionFor(app)
    hub.plan(`POST /users/${userOf(session)}/server`, { status: 400, body: { message: 'No such profile: large' } })
    await expect(app.prepare(session, () => {})).rejects.toThrow('did not start: No such profile: large')
  })

  it('ends after startTimeout', async () => {
    const { app, hub } = await createRig({ startTimeout: '200ms' })
    hub.settings.holdStarts = true
    await expect(app.prepare(sessionFor(app), () => {})).rejects.toMatchObject({ status: 504, reason: 'start_timeout' })
  })

  it('refuses a hub that serves its users at another address', async () => {
    const { app, hub } = await createRig()
    hub.settings.urlPrefix = 'https://bob.hub.example/'
    await expect(app.prepare(sessionFor(app), () => {})).rejects.toMatchObject({ status: 502, reason: 'hub_path' })
  })

  it.each([
    { hub: 'is overloaded', answer: { status: 429 }, status: 503, reason: 'hub_busy' },
    { hub: 'is down behind its proxy', answer: { status: 503 }, status: 503, reason: 'hub_unavailable' },
    { hub: 'refuses our token', answer: { status: 403 }, status: 502, reason: 'hub_refused' },
    { hub: 'does not know the call', answer: { status: 405 }, status: 502, reason: 'hub_unexpected' },
  ])('says that the hub $hub', async ({ answer, status, reason }) => {
    const { app, hub } = await createRig()
    const session = sessionFor(app)
    hub.plan(`POST /users/${userOf(session)}`, answer)
    await expect(app.prepare(session, () => {})).rejects.toMatchObject({ status, reason })
  })

  it.each([
    { what: 'no JSON', call: 'tokens', body: '<html>' },
    { what: 'a token without a value', call: 'tokens', body: '{"id": "a1"}' },
  ])('refuses $what as an answer', async ({ call, body }) => {
    const { app, hub } = await createRig()
    const session = sessionFor(app)
    hub.plan(`POST /users/${userOf(session)}/${call}`, { status: 201, body })
    await expect(app.prepare(session, () => {})).rejects.toMatchObject({ status: 502, reason: 'hub_malformed' })
  })

  it('refuses an event stream that is none', async () => {
    const { app, hub } = await createRig()
    const session = sessionFor(app)
    hub.plan(`GET /users/${userOf(session)}/server/progress`, { status: 200, body: 'data: soon\n\n' })
    await expect(app.prepare(session, () => {})).rejects.toMatchObject({ status: 502, reason: 'hub_malformed' })
  })

  it('says that the hub does not answer, and the launch still gets as far as the starting page', async () => {
    const { app, hub } = await createRig()
    await hub.close()
    const session = sessionFor(app)
    expect(await app.ready(session)).toBeUndefined()
    await expect(app.prepare(session, () => {})).rejects.toMatchObject({
      status: 503,
      message: 'The notebook service does not answer. Try again in a minute.',
    })
  })
})
