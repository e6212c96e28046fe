import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesOf, ended, form, launch, openWebSocket, type Scene, startScene, stream } from '../flow/harness.ts'
import { openConnection } from '../flow/raw-http.ts'
import { until } from '../flow/until.ts'

const seconds = () => Date.now() / 1000

async function openAndStream(scene: Scene) {
  scene.app.answer('/notes/events', (_req, res) => void res.writeHead(200).write('data: 1\n\n'))
  scene.app.answer('/notes/upload', () => {})
  const share = await scene.share()
  const token = await scene.token({ share })
  const opened = await launch(scene.gateway, token)
  const live = await openWebSocket(scene.gateway, '/notes/live', opened)
  const events = await stream(scene.gateway, '/notes/events', { cookie: opened.cookie })
  const upload = openConnection(scene.gateway.port)
  const headers = { Cookie: opened.cookie, Origin: scene.gateway.origin, 'Content-Length': '1000' }
  upload.write(bytesOf(scene.gateway, '/notes/upload', { method: 'PUT', headers, body: 'half of it' }))
  await until('the app has the upload', () => scene.app.requests.some(({ url }) => url === '/notes/upload'))
  const cut = Promise.all([live.closed, ended(events), upload.closed]).then(seconds)
  return { share, token, opened, cut, waiting: () => live.socket.readyState === live.socket.OPEN }
}

describe('revoke, expiry, record replaced with less, logout', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await startScene()
  })
  afterAll(() => scene.close())

  const endings = {
    revoke: ({ share }) => scene.alice.unshare(share.providerId, { notify: false }),
    'record replaced with another recipient': ({ share }) =>
      scene.alice.provision(scene.alice.notification({ ...share, shareWith: 'eve@bob.localhost:8443' })),
    logout: ({ opened }) =>
      scene.visit('/notes/.ocm/logout', opened, { method: 'POST', headers: { Origin: scene.gateway.origin } }),
    'the receiver’s close': ({ token }) => scene.send('/ocm/close', form({ access_token: token })),
  } satisfies Record<string, (at: Awaited<ReturnType<typeof openAndStream>>) => Promise<unknown>>

  it.each(Object.keys(endings) as (keyof typeof endings)[])(
    '%s: HTTP refused from the next request on; open WebSockets, streams and uploads closed at once',
    async (name) => {
      const session = await openAndStream(scene)
      expect(session.waiting()).toBe(true)
      const at = seconds()
      await endings[name](session)
      expect((await session.cut) - at).toBeLessThan(1)
      expect((await scene.visit('/notes/a', session.opened)).status).toBe(401)
      expect((await openWebSocket(scene.gateway, '/notes/live', session.opened)).status).toBe(401)
      await until('the app’s sockets are closed', () => scene.app.open.size === 0)
    },
  )

  it('record replaced with less: the open WebSocket is cut, and what is no longer granted is refused', async () => {
    const session = await openAndStream(scene)
    await scene.alice.provision(scene.alice.notification({ ...session.share, permissions: ['view'] }))
    await session.cut
    expect((await openWebSocket(scene.gateway, '/notes/live', session.opened)).status).toBe(403)
    expect((await scene.visit('/notes/a', session.opened)).status).toBe(200)
  })

  it('expiry: closed within 2 s, also when very many expire at once', async () => {
    const { share, cut } = await openAndStream(scene)
    const crowd = await Promise.all(Array.from({ length: 6 }, () => scene.share()))
    const tokens = await Promise.all(crowd.map((each) => scene.token({ share: each })))
    const others = await Promise.all(
      tokens.flatMap((token) => Array.from({ length: 40 }, () => launch(scene.gateway, token))),
    )
    const last = await openWebSocket(scene.gateway, '/notes/live', { cookie: others.at(-1)?.cookie ?? '' })
    expect(last.status).toBe(101)
    const expiration = Math.floor(seconds()) + 3
    const ending = (each: typeof share) => scene.alice.provision(scene.alice.notification({ ...each, expiration }))
    await Promise.all([share, ...crowd].map(ending))
    const cutAt = await Promise.all([cut, last.closed]).then(seconds)
    expect(cutAt).toBeGreaterThanOrEqual(expiration)
    expect(cutAt).toBeLessThan(expiration + 2)
  })

  it('a handshake under way when the session ends does not become a WebSocket, nor does the app keep one', async () => {
    let released = false
    scene.app.handshake('/notes/late', (_req, socket) => {
      socket.once('close', () => (released = true)).resume()
      socket.once('end', () => socket.end())
    })
    const opened = await scene.open()
    const late = openWebSocket(scene.gateway, '/notes/late', opened)
    await until('the app has the handshake', () => scene.app.upgrades.at(-1)?.url === '/notes/late')
    await scene.alice.unshare(opened.share.providerId, { notify: false })
    expect((await late).status).toBe(0)
    await until('the app’s side is closed', () => released)
  })
})

describe('a session that ends while its requests arrive', () => {
  it('keeps none of them open', async () => {
    const scene = await startScene()
    scene.app.answer('/notes/events', (_req, res) => void res.writeHead(200).write('data: 1\n\n'))
    for (let round = 0; round < 10; round++) {
      const opened = await scene.open()
      const streams = Array.from({ length: 20 }, () =>
        stream(scene.gateway, '/notes/events', { cookie: opened.cookie }),
      )
      const sockets = Array.from({ length: 20 }, () => openWebSocket(scene.gateway, '/notes/live', opened))
      await scene.alice.unshare(opened.share.providerId, { notify: false })
      for (const started of await Promise.allSettled(streams)) {
        if (started.status === 'rejected' || started.value.statusCode === 401) continue
        await Promise.race([ended(started.value), pause(3000).then(() => expect.fail('a stream outlived its session'))])
      }
      for (const { status, closed } of await Promise.all(sockets)) {
        if (status !== 101) continue
        await Promise.race([closed, pause(3000).then(() => expect.fail('a WebSocket outlived its session'))])
      }
    }
    await scene.close()
  })
})

describe('store unreachable', () => {
  it('503, nobody is let in, nobody’s cookie is cleared, and it goes on when the store is back', async () => {
    const scene = await startScene()
    const opened = await scene.open()
    const other = await scene.share()
    const token = await scene.token({ share: other })
    const before = scene.app.requests.length
    const database = new DatabaseSync(join(scene.gateway.folder, 'gateway.db'))
    const rename = (from: string, to: string) =>
      database.exec(
        ['shares', 'sessions', 'endedSessions']
          .map((name) => `ALTER TABLE ${from.replace('*', name)} RENAME TO ${to.replace('*', name)}`)
          .join(';'),
      )
    rename('*', 'gone_*')

    const answers = [
      await scene.visit('/notes/a', opened),
      await scene.visit('/notes/.ocm/session', opened),
      await scene.visit('/notes/.ocm/logout', opened, { method: 'POST', headers: { Origin: scene.gateway.origin } }),
      (await launch(scene.gateway, token)).response,
      (await launch(scene.gateway, opened.token, { headers: { cookie: opened.cookie } })).response,
      await scene.send('/ocm/close', form({ access_token: opened.token })),
    ]
    for (const response of answers) {
      expect([response.status, response.header('retry-after'), response.header('set-cookie')]).toEqual([
        503,
        expect.stringMatching(/^\d+$/),
        undefined,
      ])
    }
    expect((await openWebSocket(scene.gateway, '/notes/live', opened)).status).toBe(503)
    expect((await scene.alice.provision(scene.alice.notification(other))).status).toBe(503)
    expect((await scene.alice.revoke({ sender: scene.alice.address, providerId: other.providerId })).status).toBe(503)
    expect(scene.app.requests.length).toBe(before)
    expect((await fetch(`${scene.gateway.adminUrl}/healthz`)).status).toBe(200)

    rename('gone_*', '*')
    database.close()
    await until('it goes on', async () => (await scene.visit('/notes/a', opened)).status === 200)
    expect((await launch(scene.gateway, token)).status).toBe(303)
    await scene.close()
  })
})

describe('process killed at any instant', () => {
  it('no acknowledged share is lost, no revoked share comes back', async () => {
    const scene = await startScene()
    const template = scene.alice.notification(await scene.share())
    const acknowledged = new Map<string, 'stored' | 'revoked'>()
    let next = 0
    /** Pushes, and revokes every third share, until the gateway is gone. */
    const work = async () => {
      for (;;) {
        const providerId = `crash-${next++}`
        const stored = await scene.alice.provision({ ...template, providerId }).catch(() => undefined)
        if (stored?.status !== 201) return
        acknowledged.set(providerId, 'stored')
        if (next % 3 !== 0) continue
        acknowledged.delete(providerId)
        const revoked = await scene.alice.revoke({ sender: scene.alice.address, providerId }).catch(() => undefined)
        if (revoked?.status !== 200) return
        acknowledged.set(providerId, 'revoked')
      }
    }
    for (let kill = 0; kill < 2; kill++) {
      const known = acknowledged.size
      const working = [work(), work(), work()]
      await until('some shares are acknowledged', () => acknowledged.size >= known + 8 + kill * 5)
      await scene.gateway.kill()
      await Promise.all(working)
      await scene.gateway.start()
    }
    expect([...acknowledged.values()]).toContain('revoked')
    for (const [client_id, state] of acknowledged) {
      const { status } = await launch(
        scene.gateway,
        await scene.token({ claims: { aud: template.shareWith, client_id } }),
      )
      expect([client_id, status]).toEqual([client_id, state === 'stored' ? 303 : 410])
    }
    await scene.close()
  })
})

describe('client abort during a store call', () => {
  it('never deletes a session', async () => {
    const scene = await startScene()
    const opened = await scene.open()
    const { cookie } = opened
    const requests = [
      bytesOf(scene.gateway, '/notes/a', { headers: { cookie } }),
      bytesOf(scene.gateway, '/notes/.ocm/session', { headers: { cookie } }),
      bytesOf(scene.gateway, '/notes/.ocm/open', {
        ...form({ access_token: opened.token }),
        headers: { ...form({}).headers, cookie },
      }),
      bytesOf(scene.gateway, '/notes/a', {
        method: 'PUT',
        headers: { cookie, Origin: scene.gateway.origin, 'Content-Length': '100' },
      }),
    ]
    for (const bytes of Array.from({ length: 50 }, () => requests).flat()) {
      const connection = openConnection(scene.gateway.port)
      connection.socket.write(bytes, () => connection.socket.resetAndDestroy())
    }
    expect((await scene.visit('/notes/a', opened)).status).toBe(200)
    expect(scene.gateway.eventsNamed('session.ended')).toEqual([])
    expect(scene.gateway.eventsNamed('unexpected')).toEqual([])
    await scene.close()
  })
})
