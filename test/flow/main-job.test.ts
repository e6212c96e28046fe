import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  BOB,
  BOBS_CLOUD,
  ended,
  navigation,
  type Opened,
  openWebSocket,
  type Scene,
  startScene,
  stream,
} from './harness.ts'
import { until } from './until.ts'

let scene: Scene

beforeAll(async () => {
  scene = await startScene()
})
afterAll(() => scene.close())

describe('a share that Alice made for Bob', () => {
  let opened: Opened

  beforeAll(async () => {
    opened = await scene.open({}, { fields: { expired_session_redirect_uri: `${BOBS_CLOUD}/apps/files` } })
  })

  it('opens with a 303 into the app and a cookie for its path only', () => {
    expect(opened.location).toBe('/notes/')
    expect(opened.setCookie).toMatch(
      /^__Secure-ocm-notes-[0-9a-f]{8}=[\w-]{43}; Path=\/notes\/; HttpOnly; Secure; SameSite=None; Partitioned$/,
    )
    expect(opened.response.header('cache-control')).toBe('no-store')
  })

  it('is proxied: GET and POST, path, query and body as they were sent', async () => {
    const page = await scene.visit('/notes/a/b%20c?x=1&y=%2F', opened)
    expect([page.status, page.body.toString()]).toEqual([200, 'ok'])
    expect(scene.app.last('/notes/a/b%20c').url).toBe('/notes/a/b%20c?x=1&y=%2F')

    const { origin } = scene.gateway
    const saved = await scene.visit('/notes/save', opened, { method: 'POST', headers: { origin }, body: 'text äöü' })
    expect(saved.status).toBe(200)
    expect(scene.app.last('/notes/save')).toMatchObject({ method: 'POST', body: Buffer.from('text äöü') })
  })

  it('has a WebSocket, both ways', async () => {
    const live = await openWebSocket(scene.gateway, '/notes/live?v=2', opened)
    expect(live.status).toBe(101)
    expect(await live.echo('hello')).toBe('hello')
    expect(scene.app.upgrades.at(-1)?.url).toBe('/notes/live?v=2')
    live.socket.close()
    await live.closed
  })

  it('tells the app’s page what it is', async () => {
    const session = await scene.visit('/notes/.ocm/session', opened)
    expect(session.json()).toMatchObject({
      webapp: 'notes',
      user: BOB,
      owner: scene.alice.address,
      senderDomain: scene.alice.domain,
      share: { id: opened.share.providerId, name: 'Field notes.md', resourceType: 'file' },
      permissions: ['view', 'read', 'write'],
      mode: 'provisioned',
      expiresAt: expect.any(Number),
    })
    expect((await scene.send('/notes/.ocm/session')).status).toBe(401)
  })

  it('ends the moment Alice revokes it: WebSocket, streaming answer and the next request', async () => {
    scene.app.answer('/notes/events', (_req, res) => void res.writeHead(200).write('data: 1\n\n'))
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    const events = await stream(scene.gateway, '/notes/events', { cookie: opened.cookie })
    const before = scene.app.requests.length

    const started = performance.now()
    const cut = Promise.all([live.closed, ended(events)])
    await scene.alice.unshare(opened.share.providerId, { notify: false })
    await cut
    expect(performance.now() - started).toBeLessThan(1000)
    await until('the app’s side is closed too', () => scene.app.open.size === 0)

    expect((await scene.visit('/notes/a', opened)).status).toBe(401)
    const page = await scene.visit('/notes/a', opened, { headers: navigation })
    expect([page.status, page.header('location')]).toEqual([303, `${BOBS_CLOUD}/apps/files`])
    expect((await openWebSocket(scene.gateway, '/notes/live', opened)).status).toBe(401)
    expect(scene.app.requests.length).toBe(before)
  })

  it('is not opened again by a token that is still good', async () => {
    const again = await scene.send('/notes/.ocm/open', {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: `access_token=${opened.token}`,
    })
    expect(again.status).toBe(410)
  })
})
