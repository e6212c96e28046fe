import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  BOBS_CLOUD,
  ended,
  launch,
  navigation,
  type Opened,
  openWebSocket,
  type Scene,
  startScene,
  stream,
} from './harness.ts'
import { until } from './until.ts'

const RETURN_URI = `${BOBS_CLOUD}/session-ended/1`
const returning = { fields: { expired_session_redirect_uri: RETURN_URI } }
const soon = (seconds: number) => Math.floor(Date.now() / 1000) + seconds

const statusOf = async (scene: Scene, opened: { cookie: string }) =>
  (await scene.visit('/notes/.ocm/session', opened)).status
const gone = (scene: Scene, opened: { cookie: string }) =>
  until('the session is over', async () => (await statusOf(scene, opened)) === 401)

/** A WebSocket and a streaming answer of a session, both open; `cut` tells when they were closed, epoch seconds. */
async function liveOf(scene: Scene, opened: { cookie: string }) {
  scene.app.answer('/notes/events', (_req, res) => void res.writeHead(200).write('data: 1\n\n'))
  const live = await openWebSocket(scene.gateway, '/notes/live', opened)
  const events = await stream(scene.gateway, '/notes/events', { cookie: opened.cookie })
  return { cut: Promise.all([live.closed, ended(events)]).then(() => Date.now() / 1000) }
}

describe('a session', () => {
  let scene: Scene

  beforeAll(async () => {
    scene = await startScene({ sessions: { cookiePrefix: '__Secure-share' } })
  })
  afterAll(() => scene.close())

  it('has the cookie prefix of the configuration', async () => {
    expect((await scene.open()).setCookie).toMatch(/^__Secure-share-notes-[0-9a-f]{8}=/)
  })

  it.concurrent('ends with its self-contained token: open connections are cut within 2 s of exp', async () => {
    const share = await scene.share({ mode: 'self-contained' })
    const exp = soon(2)
    const { cut } = await liveOf(scene, await launch(scene.gateway, await scene.token({ share, claims: { exp } })))
    const cutAt = await cut
    expect(cutAt).toBeGreaterThanOrEqual(exp)
    expect(cutAt).toBeLessThan(exp + 2)
  })

  it.concurrent('ends with its share’s expiration', async () => {
    const opened = await scene.open({ expiration: soon(2) })
    await gone(scene, opened)
    const late = await launch(scene.gateway, opened.token, { headers: { accept: 'application/json' } })
    expect([late.status, late.response.json().reason]).toEqual([410, 'share_expired'])
  })

  it.concurrent('outlives its token when a record stands behind it (boundTo: share)', async () => {
    const share = await scene.share()
    const exp = soon(1)
    const opened = await launch(scene.gateway, await scene.token({ share, claims: { exp } }))
    await until('the token has expired', () => Date.now() / 1000 > exp + 0.1)
    expect(await statusOf(scene, opened)).toBe(200)
  })
})

describe('logging out', () => {
  let scene: Scene
  let opened: Opened
  const logout = (headers: Record<string, string> = {}) =>
    scene.visit('/notes/.ocm/logout', opened, { method: 'POST', headers: { origin: scene.gateway.origin, ...headers } })

  beforeAll(async () => {
    scene = await startScene()
  })
  afterAll(() => scene.close())

  it('ends the session at once, clears the cookie, and cuts what is open; a second time it is 204 too', async () => {
    opened = await scene.open()
    const { cut } = await liveOf(scene, opened)
    const answer = await logout()
    await cut
    expect([answer.status, answer.header('set-cookie')]).toEqual([
      204,
      `${opened.cookie.split('=')[0]}=; Path=/notes/; HttpOnly; Secure; SameSite=None; Partitioned; Max-Age=0`,
    ])
    expect(await statusOf(scene, opened)).toBe(401)
    expect((await logout()).status).toBe(204)
  })

  it('sends a browser back to the Receiving Server', async () => {
    opened = await scene.open({}, returning)
    const answer = await logout({ 'sec-fetch-mode': 'navigate' })
    expect([answer.status, answer.header('location')]).toEqual([303, RETURN_URI])
  })

  it('is not done by a GET, nor by a page elsewhere', async () => {
    opened = await scene.open()
    expect((await scene.visit('/notes/.ocm/logout', opened)).status).toBe(405)
    expect((await logout({ origin: 'https://evil.example' })).status).toBe(403)
    expect(await statusOf(scene, opened)).toBe(200)
  })

  it('leaves the other sessions of that person alone', async () => {
    opened = await scene.open()
    const other = await launch(scene.gateway, opened.token)
    await logout()
    expect(await statusOf(scene, other)).toBe(200)
  })
})

describe('after the end', () => {
  let scene: Scene

  beforeAll(async () => {
    scene = await startScene({ sessions: { maxAge: '2s' } })
  })
  afterAll(() => scene.close())

  it.concurrent('of maxAge, a page leads back to the Receiving Server, anything else is 401', async () => {
    const opened = await scene.open({}, returning)
    await (await liveOf(scene, opened)).cut
    const page = await scene.visit('/notes/some/page', opened, { headers: navigation })
    expect([page.status, page.header('location')]).toEqual([303, RETURN_URI])
    const older = await scene.visit('/notes/some/page', opened, { headers: { accept: 'text/html,*/*' } })
    expect(older.header('location')).toBe(RETURN_URI)
    const data = await scene.visit('/notes/api', opened, { headers: { 'sec-fetch-mode': 'cors', accept: 'text/html' } })
    expect([data.status, data.header('www-authenticate')]).toEqual([401, 'Bearer'])
    expect((await scene.visit('/notes/a', opened, { method: 'POST', headers: navigation, body: 'x' })).status).toBe(401)
  })

  it.concurrent('without a way back, a page leads to one of ours that says why', async () => {
    const opened = await scene.open()
    await gone(scene, opened)
    const page = await scene.visit('/notes/', opened, { headers: navigation })
    expect([page.status, page.header('location')]).toEqual([303, '/notes/.ocm/expired?reason=expired'])
    const expired = await scene.send('/notes/.ocm/expired?reason=expired')
    expect(expired.status).toBe(401)
    expect(expired.body.toString()).toContain('Your time with this share is over')
    expect(expired.header('content-security-policy')).toContain('frame-ancestors *')
    expect(expired.header('content-security-policy')).toContain("form-action 'none'")
  })

  it('a browser that never had a session is told so, and the reason in the address is not believed', async () => {
    const page = await scene.send('/notes/', { headers: navigation })
    expect(page.header('location')).toBe('/notes/.ocm/expired')
    const told = await scene.send('/notes/.ocm/expired?reason=%3Cscript%3E')
    expect(told.body.toString()).toContain('There is no open share in this tab')
  })
})

describe('a session that is bound to its token, and nobody uses', () => {
  let scene: Scene

  beforeAll(async () => {
    scene = await startScene({ sessions: { boundTo: 'token', idleTimeout: '1s' } })
  })
  afterAll(() => scene.close())

  it.concurrent('ends after the idle timeout; one with an open WebSocket does not, nor one that is used', async () => {
    const [idle, watching, used] = [await scene.open(), await scene.open(), await scene.open()]
    const live = await openWebSocket(scene.gateway, '/notes/live', watching)
    await until('the idle one is over', async () => {
      expect(await statusOf(scene, used)).toBe(200)
      await scene.visit('/notes/', used)
      return scene.gateway.eventsNamed('session.ended').some(({ reason }) => reason === 'idle')
    })
    expect(await statusOf(scene, idle)).toBe(401)
    expect(await live.echo('still there')).toBe('still there')
    expect([await statusOf(scene, watching), await statusOf(scene, used)]).toEqual([200, 200])
    const page = await scene.visit('/notes/', idle, { headers: navigation })
    expect(page.header('location')).toBe('/notes/.ocm/expired?reason=idle')
  })

  it.concurrent('ends with the token, although the record stands', async () => {
    const share = await scene.share()
    const exp = soon(2)
    const opened = await launch(scene.gateway, await scene.token({ share, claims: { exp } }))
    const cutAt = await (await liveOf(scene, opened)).cut
    expect(cutAt).toBeGreaterThanOrEqual(exp)
    expect(cutAt).toBeLessThan(exp + 2)
    expect((await launch(scene.gateway, await scene.token({ share }))).status).toBe(303)
  })
})
