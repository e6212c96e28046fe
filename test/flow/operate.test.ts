import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { startRedis } from '../contract/redis-server.ts'
import { SERVICE_TOKEN, startFakeHub } from '../unit/apps/jupyterhub/fake-hub.ts'
import { runCommand } from './command.ts'
import { BOB, launch, navigation, openWebSocket, type Scene, startScene } from './harness.ts'
import { until } from './until.ts'

describe('the operator’s commands, beside a running gateway', () => {
  let scene: Scene
  const run = (...args: string[]) => runIn(scene, ...args)
  const rows = async (...args: string[]) =>
    JSON.parse((await run(...args, '--json')).stdout) as Record<string, unknown>[]

  beforeAll(async () => {
    scene = await startScene()
  })
  afterAll(() => scene.close())

  it('shares list and show tell what was announced, and to whom', async () => {
    const opened = await scene.open()
    const share = opened.share.providerId
    const { stdout, code } = await run('shares', 'list')
    expect(code).toBe(0)
    expect(stdout).toContain(`domain=${scene.alice.domain} share=${share} state=live since=`)
    expect(stdout).toContain(`recipient=${BOB}`)
    expect(stdout).toContain('name="Field notes.md"')
    const [shown, session] = await rows('shares', 'show', scene.alice.domain, share)
    expect(shown).toMatchObject({ share, recipient: BOB, name: 'Field notes.md', state: 'live' })
    expect(session).toMatchObject({ webapp: 'notes', user: BOB, mode: 'provisioned' })
  })

  it('shares list is of one domain when asked, and says when there is more than it shows', async () => {
    await scene.share()
    expect(await rows('shares', 'list', '--domain', 'other.localhost')).toEqual([])
    const { stdout, stderr } = await run('shares', 'list', '--domain', scene.alice.domain, '--limit', '1')
    expect(stdout.trim().split('\n')).toHaveLength(1)
    expect(stderr).toContain('only 1 are shown')
  })

  it('shares revoke cuts what is open within a second, like the sender’s own revocation', async () => {
    const opened = await scene.open()
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    expect((await scene.visit('/notes/', opened)).status).toBe(200)
    const closed = live.closed.then(() => performance.now())
    const { code, stdout, stderr } = await run('shares', 'revoke', scene.alice.domain, opened.share.providerId)
    const answeredAt = performance.now()
    expect([code, stdout]).toEqual([
      0,
      `domain=${scene.alice.domain} share=${opened.share.providerId} state=revoked sessionsEnded=1\n`,
    ])
    expect(stderr).toContain('"event":"share.revoked"')
    expect(stderr).toContain('"reason":"blocked"')
    expect((await closed) - answeredAt).toBeLessThan(1000)
    expect((await scene.visit('/notes/', opened)).status).toBe(401)
    const page = await scene.visit('/notes/', opened, { headers: navigation })
    expect(page.header('location')).toBe('/notes/.ocm/expired?reason=blocked')
    const told = (await scene.send('/notes/.ocm/expired?reason=blocked')).body.toString()
    expect(told).toContain('An operator of this gateway has blocked it')
    expect((await launch(scene.gateway, opened.token)).status).toBe(410)
    const [shown] = await rows('shares', 'show', scene.alice.domain, opened.share.providerId)
    expect(shown).toMatchObject({ state: 'revoked' })
  })

  it('shares revoke of a share that never came keeps it out', async () => {
    const share = await scene.share({ mode: 'self-contained' })
    const { stdout } = await run('shares', 'revoke', scene.alice.domain, share.providerId)
    expect(stdout).toContain('state=gone sessionsEnded=0')
    expect((await launch(scene.gateway, await scene.token({ share }))).status).toBe(410)
  })

  it('sessions list shows no cookie, and sessions end takes what it shows', async () => {
    const opened = await scene.open()
    const other = await scene.open()
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    const listed = await rows('sessions', 'list', '--domain', scene.alice.domain)
    const id = String(listed.find(({ share }) => share === opened.share.providerId)?.session)
    const { stdout, stderr } = await run('sessions', 'end', id)
    expect(stdout).toContain(`session=${id} `)
    expect(stderr).toContain('"reason":"operator"')
    await live.closed
    expect((await scene.visit('/notes/', opened)).status).toBe(401)
    expect((await scene.visit('/notes/', other)).status).toBe(200)
    const again = await run('sessions', 'end', id)
    expect([again.code, again.stderr]).toEqual([1, `there is no session ${id}; sessions list shows them\n`])
  })

  it.each([
    { args: ['shares', 'show', 'nobody.example', 'x'], says: 'nobody.example has no share x' },
    { args: ['shares', 'revoke', 'https://cloud', 'x'], says: 'https://cloud is not the host of a Sending Server' },
    { args: ['shares', 'revoke', 'nobody.example'], says: 'it needs DOMAIN and ID' },
    { args: ['sessions', 'end', ''], says: 'there is no session' },
  ])('$args fails with words', async ({ args, says }) => {
    const { code, stdout, stderr } = await run(...args)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain(says)
  })
})

it('shares revoke works without a gateway too, and holds when it starts', async () => {
  const scene = await startScene()
  const opened = await scene.open()
  await scene.gateway.terminate()
  const { configFile } = scene.gateway
  const { code } = await runCommand([
    ...['shares', 'revoke', scene.alice.domain, opened.share.providerId],
    ...['--config', configFile],
  ])
  expect(code).toBe(0)
  await scene.gateway.start()
  expect((await scene.visit('/notes/', opened)).status).toBe(401)
  expect((await launch(scene.gateway, opened.token)).status).toBe(410)
  await scene.close()
})

it('over Redis too, what is revoked by hand is cut at once', async () => {
  const redis = await startRedis()
  const scene = await startScene({ store: redis.url })
  const opened = await scene.open()
  const live = await openWebSocket(scene.gateway, '/notes/live', opened)
  const { code, stdout } = await runCommand([
    ...['shares', 'revoke', scene.alice.domain, opened.share.providerId],
    ...['--config', scene.gateway.configFile],
  ])
  expect([code, stdout]).toEqual([0, expect.stringContaining('state=revoked sessionsEnded=1')])
  await live.closed
  expect((await scene.visit('/notes/', opened)).status).toBe(401)
  await scene.close()
  await redis.stop()
})

it('a store in memory is refused with words', async () => {
  const scene = await startScene({ store: 'memory:' })
  const { code, stderr } = await runCommand(['sessions', 'list', '--config', scene.gateway.configFile])
  expect([code, stderr]).toEqual([1, expect.stringContaining('only the running gateway knows its shares')])
  await scene.close()
})

describe.each([
  { over: 'SQLite', storeAt: async () => undefined },
  {
    over: 'Redis',
    async storeAt() {
      const redis = await startRedis()
      onTestFinished(() => redis.stop())
      return redis.url
    },
  },
])('over $over, a notebook server', ({ storeAt }) => {
  it.each(['shares revoke', 'sessions end'])(
    'is stopped at once after %s, not at the next housekeeping',
    async (what) => {
      const hub = await startFakeHub()
      onTestFinished(() => hub.close())
      const folder = mkdtempSync(join(tmpdir(), 'hub-'))
      onTestFinished(() => rmSync(folder, { recursive: true }))
      const apiTokenFile = join(folder, 'token')
      writeFileSync(apiTokenFile, SERVICE_TOKEN)
      const jupyterhub = { apiTokenFile, content: 'none' }
      const store = await storeAt()
      const scene = await startScene({
        ...(store && { store }),
        webapps: ({ origin }) => [
          { name: 'notebooks', kind: 'jupyterhub', publicUrl: `${origin}/jupyter/`, upstream: hub.url, jupyterhub },
        ],
      })
      onTestFinished(() => scene.close())
      const share = await scene.share()
      const opened = await launch(scene.gateway, await scene.token({ share }), { at: '/jupyter/.ocm/open' })
      const events = `${opened.location}/events`
      expect((await scene.send(events, { headers: { cookie: opened.cookie } })).status).toBe(200)
      await until('a server runs', () => [...hub.users.values()].some(({ server }) => server?.state === 'ready'))
      const [session] = JSON.parse((await runIn(scene, 'sessions', 'list', '--json')).stdout) as { session: string }[]
      const named = {
        'shares revoke': [scene.alice.domain, share.providerId],
        'sessions end': [session?.session ?? ''],
      }
      const { code } = await runIn(scene, ...what.split(' '), ...(named[what as keyof typeof named] ?? []))
      expect(code).toBe(0)
      await until('its server and user are gone', () => hub.users.size === 0, 5)
    },
  )
})

const runIn = (scene: Scene, ...args: string[]) => runCommand([...args, '--config', scene.gateway.configFile])
