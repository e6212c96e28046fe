import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/time.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import {
  BOB,
  bytesOf,
  form,
  launch,
  navigation,
  type Opened,
  openWebSocket,
  type Scene,
  type SceneOptions,
  startScene,
} from '../flow/harness.ts'
import { type IntrospectionEndpoint, startIntrospectionEndpoint } from '../flow/introspection-endpoint.ts'
import { keepSecret } from '../flow/leaks.ts'
import { type Connection, openConnection } from '../flow/raw-http.ts'
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

describe('junk credentials of one address, for a server that is asked about them', () => {
  const PER_MINUTE = 100
  let endpoint: IntrospectionEndpoint

  beforeEach(async () => {
    endpoint = await startIntrospectionEndpoint()
    await start({
      server: { trustedProxies: ['127.0.0.1'] },
      pairing: {
        modes: ['provisioned', 'introspected'],
        introspection: { url: endpoint.url, auth: 'none' },
        limits: { introspectionsPerMinute: PER_MINUTE },
      },
    })
  })
  afterEach(() => endpoint.close())

  const launchFrom = (address: string, credential: string) =>
    launch(scene.gateway, credential, { headers: { 'X-Forwarded-For': address } })
  const flood = (addresses: (index: number) => string, count: number) =>
    Promise.all(Array.from({ length: count }, (_, index) => launchFrom(addresses(index), `junk-${index}`)))
  /** A credential of a new share, which the endpoint knows. */
  const activeCredential = async (name: string) => {
    const { providerId } = await scene.share()
    const exp = Math.floor(Date.now() / 1000) + 300
    const answer = { active: true, iss: scene.alice.issuer, sub: 'alice', aud: BOB, exp, client_id: providerId }
    endpoint.known.set(name, answer)
    return keepSecret(name)
  }

  it('use up a tenth of its rate, and the launches of others go on', async () => {
    const statuses = (await flood(() => '198.51.100.1', 150)).map(({ status }) => status)
    expect(new Set(statuses)).toEqual(new Set([401, 429]))
    expect(endpoint.asked).toBeLessThanOrEqual(PER_MINUTE / 10 + 1)
    const honest = await activeCredential('an opaque secret of a share')
    expect((await launchFrom('198.51.100.2', honest)).status).toBe(303)
  })

  it('count together when the addresses are of one IPv6 network', async () => {
    await flood((index) => `2001:db8:1:2::${index.toString(16)}`, 150)
    expect(endpoint.asked).toBeLessThanOrEqual(PER_MINUTE / 10 + 1)
  })

  it('are no measure for those who bring what is active: any number of people may sit behind one address', async () => {
    for (let nth = 0; nth < 25; nth++) {
      const credential = await activeCredential(`an opaque secret of person ${nth}`)
      expect((await launchFrom('198.51.100.3', credential)).status).toBe(303)
    }
    expect(endpoint.asked).toBe(25)
  })
})

describe('connections of one address', () => {
  const MOST = 5
  const startWith = (server: Record<string, unknown> = {}) =>
    start({ server: { limits: { connectionsPerAddress: MOST }, ...server } })
  const connections: Connection[] = []
  afterEach(() => {
    for (const { socket } of connections.splice(0)) socket.destroy()
  })

  /** A connection over which nothing is sent. */
  const connect = () => {
    const connection = openConnection(scene.gateway.port)
    connections.push(connection)
    return connection
  }
  /** One that was answered, and stays open. */
  const used = async () => {
    const connection = connect()
    connection.write(bytesOf(scene.gateway, '/notes/', { headers: { Connection: 'keep-alive' } }))
    return { connection, status: (await connection.read()).status }
  }

  it('beyond the limit are closed at once, and let in again when others have gone', async () => {
    await startWith()
    const held = await Promise.all(Array.from({ length: MOST }, used))
    expect(held.map(({ status }) => status)).toEqual(Array.from({ length: MOST }, () => 401))
    await Promise.all(Array.from({ length: 20 }, () => connect().closed))
    const told = scene.gateway.eventsNamed('connections.exhausted')
    expect(told).toMatchObject([{ client: '127.0.0.1', limit: MOST }])
    const metrics = await (await fetch(`${scene.gateway.adminUrl}/metrics`)).text()
    expect(metrics).toContain('ocm_gateway_connections_refused_total 20')
    held[0]?.connection.socket.destroy()
    await until('there is room again', async () => (await used()).status === 401)
  })

  it('are counted over WebSockets too', async () => {
    await startWith()
    const opened = await scene.open()
    const live = await Promise.all(
      Array.from({ length: MOST }, () => openWebSocket(scene.gateway, '/notes/live', opened)),
    )
    expect((await openWebSocket(scene.gateway, '/notes/live', opened)).status).toBe(0)
    expect(await live[0]?.echo('still here')).toBe('still here')
    live[0]?.socket.close()
    await until('there is room again', async () => (await used()).status === 401)
  })

  it('are any number for a trusted proxy', async () => {
    await startWith({ trustedProxies: ['127.0.0.0/8'] })
    const held = await Promise.all(Array.from({ length: 3 * MOST }, used))
    expect(new Set(held.map(({ status }) => status))).toEqual(new Set([401]))
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
