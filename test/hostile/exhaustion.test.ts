import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/time.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import {
  form,
  launch,
  navigation,
  type Opened,
  openWebSocket,
  type Scene,
  type SceneOptions,
  startScene,
} from '../flow/harness.ts'
import { until } from '../flow/until.ts'

let scene: Scene
const start = async (options: SceneOptions = {}) => {
  scene = await startScene(options)
}
afterEach(() => scene.close())

describe('a recipient who launches without end', () => {
  beforeEach(() => start({ pairing: { limits: { requestsPerMinute: 5 } } }))

  it('is answered 429, and keeps nobody from revoking the share, or from sharing', async () => {
    const opened = await scene.open()
    let last = 303
    for (let index = 0; index < 10 && last === 303; index++) last = (await launch(scene.gateway, opened.token)).status
    expect(last).toBe(429)
    await expect(scene.share()).resolves.toBeDefined()
    await scene.alice.revoke({ sender: scene.alice.address, providerId: opened.share.providerId })
    expect((await scene.visit('/notes/', opened)).status).toBe(401)
  })
})

describe('patterns that take quadratic time', () => {
  beforeEach(() => start())

  it.each([
    [
      'a launch path of slashes',
      () => scene.send(`/notes/.ocm/open/${'/'.repeat(31_000)}x`, form({ access_token: 'x' })),
      400,
    ],
    [
      'a covered header of spaces',
      () =>
        scene.send('/ocm/shares', {
          method: 'POST',
          headers: {
            'Content-Type': 'application/json',
            'X-A': `a${' '.repeat(29_000)}b`,
            'Signature-Input': 'ocm=("x-a");tag="ocm"',
            Signature: 'ocm=:AA==:',
          },
          body: JSON.stringify({ sender: scene.alice.address }),
        }),
      401,
    ],
    [
      'a signature of quotes',
      () =>
        scene.send('/ocm/shares', {
          method: 'POST',
          headers: {
            'Content-Type': 'application/json',
            'Signature-Input': `ocm="${'\\"'.repeat(14_000)}`,
            Signature: 'ocm=:AA==:',
          },
          body: JSON.stringify({ sender: scene.alice.address }),
        }),
      401,
    ],
  ])('%s is refused', async (_what, send, status) => {
    expect((await send()).status).toBe(status)
  })
})

describe('a reload that takes something away', () => {
  let opened: Opened
  beforeEach(async () => {
    await start()
    opened = await scene.open()
  })

  it('cuts the open WebSockets of a server that is no longer paired', async () => {
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    await scene.gateway.reload((at) => ({ ...scene.settings(at), ocmServers: [{ domain: 'other.localhost' }] }))
    await live.closed
    await scene.gateway.event('session.ended', ({ reason }) => reason === 'unpaired')
  })

  it('narrows what is open to a lowered ceiling', async () => {
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    await scene.gateway.reload((at) => {
      const { ocmServers, ...rest } = scene.settings(at)
      return { ...rest, ocmServers: ocmServers.map((pairing) => ({ ...pairing, permissions: ['view'] })) }
    })
    await live.closed
    const { origin } = scene.gateway
    expect((await scene.visit('/notes/x', opened, { method: 'PUT', headers: { origin }, body: 'x' })).status).toBe(403)
    expect((await scene.visit('/notes/x', opened)).status).toBe(200)
  })
})

describe('killed between a revocation and the end of its sessions', () => {
  beforeEach(() => start({ store: 'sqlite:./gateway.db' }))

  it('the sessions of the revoked share end with the next start', async () => {
    const opened = await scene.open()
    await scene.gateway.kill()
    const store = openSqliteStore(`${scene.gateway.folder}/gateway.db`, { now: systemClock })
    const key = { senderDomain: scene.alice.domain, shareId: opened.share.providerId }
    const now = Math.floor(Date.now() / 1000)
    expect(
      await store.shares.revoke(
        key,
        { created: now + 1, signature: 'of the revocation' },
        { now, keepUntil: now + 3600, limit: 10 },
      ),
    ).toBe('revoked')
    await store.close()
    await scene.gateway.start()
    await until('the session has ended', async () => (await scene.visit('/notes/', opened)).status === 401)
  })
})

describe('very many shares in one browser', () => {
  beforeEach(() => start())

  it('the newest still opens', async () => {
    const cookies: string[] = []
    for (let index = 0; index < 55; index++) {
      const { cookie } = await scene.open()
      cookies.push(cookie)
    }
    expect((await scene.visit('/notes/', { cookie: cookies.join('; ') }, { headers: navigation })).status).toBe(200)
  })
})

describe('what reaches the app, and what comes back', () => {
  beforeEach(() => start())

  it('methods and paths are decided on the request itself: overrides are removed', async () => {
    const opened = await scene.open()
    const headers = {
      'X-HTTP-Method-Override': 'DELETE',
      'X-Original-URL': '/admin',
      X_Rewrite_Url: '/admin',
      'X-Own': '1',
    }
    await scene.visit('/notes/overridden', opened, { headers })
    const seen = Object.keys(scene.app.last('/notes/overridden').headers)
    expect(seen).toContain('x-own')
    expect(seen.filter((name) => /override|original|rewrite/.test(name))).toEqual([])
  })

  it('JSON of ours is framed by nobody', async () => {
    const opened = await scene.open()
    const session = await scene.visit('/notes/.ocm/session', opened)
    expect(session.header('content-security-policy')).toContain("frame-ancestors 'none'")
  })
})
