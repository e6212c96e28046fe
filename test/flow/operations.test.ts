import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { signRequest } from '../../src/trust/http-signature.ts'
import { launch, type Opened, openWebSocket, type Scene, send, startScene } from './harness.ts'
import { secretsIn } from './leaks.ts'
import { until } from './until.ts'

const now = () => Date.now() / 1000

describe('the admin listener', () => {
  let scene: Scene
  const admin = async (path: string) => fetch(scene.gateway.adminUrl + path)

  beforeAll(async () => {
    scene = await startScene()
  })
  afterAll(() => scene.close())

  it('says that the process lives, and that it is ready, check by check', async () => {
    expect((await admin('/healthz')).status).toBe(200)
    const ready = await admin('/readyz')
    expect(ready.status).toBe(200)
    expect(await ready.json()).toMatchObject({
      status: 'ready',
      checks: { store: 'ok', configuration: 'ok', accepting: 'ok' },
    })
  })

  it('has the metrics of the contract, with what happened', async () => {
    const opened = await scene.open()
    await scene.visit('/notes/', opened)
    await launch(scene.gateway, await scene.token({ claims: { aud: 'x@y.example', client_id: 'none' } }))
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    const text = await (await admin('/metrics')).text()
    for (const line of [
      'launches_total{webapp="notes",mode="provisioned",result="accepted"} 1',
      'launches_total{webapp="notes",mode="",result="share_unknown"} 1',
      'integration_requests_total{operation="shares",result="stored"} 1',
      'sessions_active{webapp="notes"} 1',
      `shares_stored{domain="${scene.alice.domain}"} 1`,
      'proxied_requests_total{webapp="notes",code="200"} 1',
      'proxied_request_duration_seconds_count{webapp="notes"} 1',
      'websockets_active{webapp="notes"} 1',
      `jwks_fetches_total{domain="${scene.alice.domain}",result="ok"} 1`,
    ]) {
      expect(text).toContain(`\nocm_gateway_${line}\n`)
    }
    expect(text).toContain('\nocm_gateway_store_operation_duration_seconds_count{operation="')
    expect(text).not.toContain('bob@')
    await scene.alice.unshare(opened.share.providerId, { notify: false })
    await live.closed
    const after = await (await admin('/metrics')).text()
    expect(after).toContain('\nocm_gateway_revocation_cut_seconds_count 1\n')
    expect(after).toContain('\nocm_gateway_websockets_active{webapp="notes"} 0\n')
  })
})

describe('SIGTERM', () => {
  it('lets requests under way finish, closes WebSockets, is not ready meanwhile, and exits 0', async () => {
    const scene = await startScene()
    const opened = await scene.open()
    let finish = () => {}
    scene.app.answer('/notes/slow', (_req, res) => {
      finish = () => res.end('done')
    })
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    const slow = scene.visit('/notes/slow', opened)
    await until('the app has the request', () => scene.app.requests.some(({ url }) => url === '/notes/slow'))

    const exit = scene.gateway.terminate()
    await live.closed
    const ready = await fetch(`${scene.gateway.adminUrl}/readyz`)
    expect([ready.status, await ready.json()]).toMatchObject([503, { status: 'not ready', checks: { store: 'ok' } }])
    await until('nobody new is let in', async () => (await send(scene.gateway, '/.well-known/jwks.json')).status === 0)
    finish()
    expect((await slow).body.toString()).toBe('done')
    expect(await exit).toEqual({ code: 0, by: null })
    expect(scene.gateway.eventsNamed('stopped')).toHaveLength(1)
    await Promise.all([scene.alice.close(), scene.app.close()])
    scene.gateway.remove()
  })
})

describe('SIGHUP', () => {
  let scene: Scene
  let opened: Opened

  beforeAll(async () => {
    scene = await startScene()
    opened = await scene.open()
  })
  afterAll(() => scene.close())

  it('takes a good configuration: sessions, WebSockets and shares go on', async () => {
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    const renamed = (at: Parameters<typeof scene.settings>[0]) => {
      const { webapps, ...rest } = scene.settings(at)
      return { ...rest, webapps: webapps.map((webapp) => ({ ...webapp, headers: { 'X-Reloaded': 'yes' } })) }
    }
    expect(await scene.gateway.reload(renamed)).toBe('config.reloaded')
    expect((await scene.visit('/notes/reloaded', opened)).status).toBe(200)
    expect(scene.app.last('/notes/reloaded').headers['x-reloaded']).toBe('yes')
    expect(await live.echo('still')).toBe('still')
    live.socket.terminate()
  })

  it('refuses a bad one with all its problems, and goes on with the old one', async () => {
    expect(await scene.gateway.reload('server: { publicUrll: x }')).toBe('config.refused')
    const problems = String(scene.gateway.eventsNamed('config.refused').at(-1)?.problems)
    expect(problems).toContain('publicUrl')
    expect(problems).toContain('webapps')
    expect((await scene.visit('/notes/', opened)).status).toBe(200)
    expect(await scene.gateway.reload(scene.settings)).toBe('config.reloaded')
  })

  it('without the pairing ends its sessions with the next request', async () => {
    const unpaired = (at: Parameters<typeof scene.settings>[0]) => ({
      ...scene.settings(at),
      ocmServers: [{ domain: 'other.localhost' }],
    })
    await scene.gateway.reload(unpaired)
    expect((await scene.visit('/notes/', opened)).status).toBe(401)
    expect((await launch(scene.gateway, opened.token)).status).toBe(401)
    await scene.gateway.reload(scene.settings)
    expect((await scene.visit('/notes/', opened)).status).toBe(401)
  })
})

describe('a restart', () => {
  it.concurrent.each(['SIGTERM', 'SIGKILL'])(
    'after %s keeps sessions and shares (sqlite), and our key',
    async (signal) => {
      const scene = await startScene()
      const opened = await scene.open()
      const other = await scene.open()
      await scene.alice.unshare(other.share.providerId, { notify: false })
      const keys = (await scene.send('/.well-known/jwks.json')).body.toString()

      if (signal === 'SIGKILL') await scene.gateway.kill()
      else await scene.gateway.terminate()
      expect(secretsIn(databaseOf(scene)), 'secrets in the database').toEqual([])
      await scene.gateway.start()

      expect((await scene.visit('/notes/', opened)).status).toBe(200)
      expect((await launch(scene.gateway, opened.token)).status).toBe(303)
      expect((await scene.visit('/notes/', other)).status).toBe(401)
      expect((await launch(scene.gateway, other.token)).status).toBe(410)
      expect((await scene.send('/.well-known/jwks.json')).body.toString()).toBe(keys)
      await scene.close()
    },
  )
})

function databaseOf({ gateway: { folder } }: Scene): Buffer {
  const database = new DatabaseSync(join(folder, 'gateway.db'))
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  database.close()
  return readFileSync(join(folder, 'gateway.db'))
}

describe('behind a proxy that ends TLS', () => {
  let scene: Scene

  beforeAll(async () => {
    scene = await startScene({
      server: { publicUrl: 'https://hub.localhost', integrationApi: '/services/ocm', trustedProxies: ['127.0.0.1'] },
      webapps: (_at, app) => [
        { name: 'notes', kind: 'generic', publicUrl: 'https://hub.localhost/notes/', upstream: `${app.url}notes/` },
      ],
    })
    scene.alice.pair({ integrationApi: '', launchUrl: 'https://hub.localhost/notes/.ocm/open', appName: '' })
  })
  afterAll(() => scene.close())

  /** A push as the proxy hands it on; signed for what the sender dialled. */
  const push = async (signedFor: string, headers: Record<string, string | undefined>) => {
    const share = await scene.share({ mode: 'self-contained' })
    const body = Buffer.from(JSON.stringify(scene.alice.notification(share)))
    const signed = signRequest({ method: 'POST', url: signedFor, body }, scene.alice.keys.current, now())
    const common = { Host: 'hub.localhost', 'Content-Type': 'application/json', 'Content-Length': undefined }
    return send(scene.gateway, '/services/ocm/shares', {
      method: 'POST',
      headers: { ...common, ...signed, ...headers },
      body,
    })
  }

  it.each([
    {
      what: 'what the sender dialled',
      signedFor: 'https://hub.localhost/services/ocm/shares',
      headers: {},
      status: 201,
    },
    {
      what: 'the same, whatever X-Forwarded-Host says',
      signedFor: 'https://hub.localhost/services/ocm/shares',
      headers: { 'X-Forwarded-Host': 'evil.example', 'X-Forwarded-Proto': 'http' },
      status: 201,
    },
    {
      what: 'another host, with X-Forwarded-Host to match',
      signedFor: 'https://evil.example/services/ocm/shares',
      headers: { 'X-Forwarded-Host': 'evil.example' },
      status: 401,
    },
    { what: 'plain http', signedFor: 'http://hub.localhost/services/ocm/shares', headers: {}, status: 401 },
  ])('the signature must be for the configured public URL: $what → $status', async ({ signedFor, headers, status }) => {
    expect((await push(signedFor, headers)).status).toBe(status)
  })

  it('tells the app https, the public host, and the chain of addresses', async () => {
    const share = await scene.share({ mode: 'self-contained' })
    const forwarded = { Host: 'hub.localhost', 'X-Forwarded-For': '203.0.113.9', 'X-Forwarded-Proto': 'https' }
    const opened = await launch(scene.gateway, await scene.token({ share }), { headers: forwarded })
    expect(opened.status).toBe(303)
    await scene.visit('/notes/proxied', opened, { headers: forwarded })
    expect(scene.app.last('/notes/proxied').headers).toMatchObject({
      'x-forwarded-for': '203.0.113.9, 127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'hub.localhost',
    })
  })
})
