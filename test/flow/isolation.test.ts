import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { launch, type Opened, openWebSocket, type Scene, startScene } from './harness.ts'

const userOf = (scene: Scene, path: string) => scene.app.last(path).headers['x-ocm-share-id']

describe('isolation: path', () => {
  let scene: Scene
  let one: Opened
  let two: Opened

  beforeAll(async () => {
    const generic = { isolation: 'path', landing: 'start' }
    scene = await startScene({ webapps: { generic } })
    one = await scene.open()
    two = await scene.open()
  })
  afterAll(() => scene.close())

  it('gives each share a path and a cookie of its own', () => {
    expect(one.location).toMatch(/^\/notes\/~[0-9a-f]{16}\/start$/)
    expect(two.location).not.toBe(one.location)
    for (const { location, setCookie } of [one, two])
      expect(setCookie).toContain(`; Path=${location.replace(/start$/, '')};`)
  })

  it('serves both to one browser, each as itself; the app never sees the path of the share', async () => {
    const cookie = `${one.cookie}; ${two.cookie}`
    for (const { location, share } of [one, two]) {
      expect((await scene.visit(`${location}?q=1`, { cookie })).status).toBe(200)
      const seen = scene.app.last('/notes/start')
      expect(seen.url).toBe('/notes/start?q=1')
      expect(seen.headers).toMatchObject({
        'x-ocm-share-id': share.providerId,
        'x-forwarded-prefix': location.replace(/\/start$/, ''),
      })
    }
    const live = await openWebSocket(scene.gateway, two.location.replace(/start$/, 'live'), { cookie })
    expect(await live.echo('x')).toBe('x')
    expect(scene.app.upgrades.at(-1)).toMatchObject({
      url: '/notes/live',
      headers: { 'x-ocm-share-id': two.share.providerId },
    })
    live.socket.terminate()
  })

  it('keeps the cookie of one share from opening the other', async () => {
    const before = scene.app.requests.length
    expect((await scene.visit(two.location, one)).status).toBe(401)
    expect((await scene.visit('/notes/', one)).status).toBe(401)
    expect((await scene.visit('/notes/.ocm/session', one)).status).toBe(401)
    expect((await openWebSocket(scene.gateway, two.location, one)).status).toBe(401)
    expect(scene.app.requests.length).toBe(before)
  })

  it('ends one and leaves the other', async () => {
    const cookie = `${one.cookie}; ${two.cookie}`
    const logout = one.location.replace(/start$/, '.ocm/logout')
    await scene.visit(logout, { cookie }, { method: 'POST', headers: { origin: scene.gateway.origin } })
    expect((await scene.visit(one.location, { cookie })).status).toBe(401)
    expect((await scene.visit(two.location, { cookie })).status).toBe(200)
  })

  it('rewrites what the app says about paths into the share’s own', async () => {
    const scope = two.location.replace(/start$/, '')
    scene.app.answer('/notes/move', (_req, res) => {
      res
        .writeHead(302, { location: '/notes/there?x=1', 'set-cookie': ['a=1; Path=/notes/', 'b=2; Path=/notes/sub'] })
        .end()
    })
    const moved = await scene.visit(`${scope}move`, two)
    expect(moved.header('location')).toBe(`${scope}there?x=1`)
    const paths = moved.all('set-cookie').map((line) => /Path=([^;]*)/.exec(line)?.[1])
    expect(paths).toEqual([scope, `${scope}sub`])
  })
})

describe('isolation: none', () => {
  let scene: Scene

  beforeAll(async () => {
    scene = await startScene()
  })
  afterAll(() => scene.close())

  it('serves the share that was launched last, also when it was opened before', async () => {
    const one = await scene.open()
    const two = await scene.open({}, { headers: { cookie: one.cookie } })
    const cookie = `${one.cookie}; ${two.cookie}`
    const shown = async () => {
      await scene.visit('/notes/', { cookie })
      return userOf(scene, '/notes/')
    }
    expect(await shown()).toBe(two.share.providerId)
    const again = await launch(scene.gateway, one.token, { headers: { cookie } })
    expect([again.status, again.setCookie]).toEqual([303, ''])
    expect(await shown()).toBe(one.share.providerId)
  })

  it('serves what is left when the newest ends', async () => {
    const one = await scene.open()
    const two = await scene.open({}, { headers: { cookie: one.cookie } })
    await scene.alice.unshare(two.share.providerId, { notify: false })
    expect((await scene.visit('/notes/', { cookie: `${one.cookie}; ${two.cookie}` })).status).toBe(200)
    expect(userOf(scene, '/notes/')).toBe(one.share.providerId)
  })
})
