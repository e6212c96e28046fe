import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type SendingServer, startSendingServer } from '../../src/demo/sending-server.ts'
import { BOB, BOBS_CLOUD, form, launch, type Opened, openWebSocket, type Scene, send, startScene } from './harness.ts'

const BOBS_HTTPS = BOBS_CLOUD.replace('http:', 'https:')
const FORM = 'application/x-www-form-urlencoded'

let scene: Scene
let carol: SendingServer

beforeAll(async () => {
  carol = await startSendingServer({ host: 'carol.localhost', user: 'carol' })
  scene = await startScene({
    ocmServers: [{ domain: carol.domain }],
    webapps: ({ origin }, app) => [
      { name: 'notes', kind: 'generic', publicUrl: `${origin}/notes/`, upstream: `${app.url}notes/` },
      {
        name: 'slides',
        kind: 'generic',
        publicUrl: `${origin}/slides/`,
        upstream: `${app.url}slides/`,
        launchAliases: ['/services/ocm/open'],
        generic: { landing: 'lab/tree/' },
      },
    ],
  })
})
afterAll(async () => {
  await scene.close()
  await carol.close()
})

const sessionOf = async (opened: { cookie: string }) => (await scene.visit('/notes/.ocm/session', opened)).json()

/** Where a browser is sent that logs out: the way back that the launch was given, if it was taken. */
async function wayBack(opened: Opened): Promise<string | undefined> {
  const headers = { origin: scene.gateway.origin, 'sec-fetch-mode': 'navigate' }
  return (await scene.visit('/notes/.ocm/logout', opened, { method: 'POST', headers })).header('location')
}

describe('the launch form', () => {
  it('needs no more than the token', async () => {
    const opened = await scene.open()
    expect([opened.status, await wayBack(opened)]).toEqual([303, undefined])
  })

  it.each([
    { uri: `${BOBS_HTTPS}/apps/ocmremotewebapp/`, taken: true },
    { uri: `${BOBS_HTTPS}/index.php/apps/ocmremotewebapp/?id=1`, taken: true },
    { uri: 'javascript:alert(1)', taken: false },
    { uri: 'https://other.example/apps/', taken: false },
    { uri: '/apps/ocmremotewebapp/', taken: false },
  ])('expired_session_redirect_uri $uri: taken is $taken, and the launch goes on', async ({ uri, taken }) => {
    const opened = await scene.open({}, { fields: { expired_session_redirect_uri: uri } })
    expect(await wayBack(opened)).toBe(taken ? uri : undefined)
  })

  it('may use the old name redirect_uri; the new name counts when both are there', async () => {
    const [older, newer] = [`${BOBS_HTTPS}/old`, `${BOBS_HTTPS}/new`]
    expect(await wayBack(await scene.open({}, { fields: { redirect_uri: older } }))).toBe(older)
    const both = { redirect_uri: older, expired_session_redirect_uri: newer }
    expect(await wayBack(await scene.open({}, { fields: both }))).toBe(newer)
  })

  it('may come from an opaque origin, with a charset, and with fields that nobody knows', async () => {
    const headers = { Origin: 'null', 'Content-Type': `${FORM.toUpperCase()}; Charset=UTF-8` }
    expect((await scene.open({}, { headers, fields: { target: 'iframe' } })).status).toBe(303)
  })

  it.each([
    { what: 'a field twice', sent: form([...tokens('x'), ...tokens('y')]), status: 400, reason: 'field_repeated' },
    { what: 'no token', sent: form({ other: '1' }), status: 400, reason: 'field_missing' },
    {
      what: 'multipart',
      sent: { method: 'POST', headers: { 'Content-Type': 'multipart/form-data; boundary=b' }, body: '--b--' },
      status: 415,
      reason: 'form_expected',
    },
    {
      what: 'JSON',
      sent: { ...form({}), headers: { 'Content-Type': 'application/json' }, body: '{}' },
      status: 415,
      reason: 'form_expected',
    },
  ])('is refused with $what: $status', async ({ sent, status, reason }) => {
    const response = await scene.send('/notes/.ocm/open', {
      ...sent,
      headers: { ...sent.headers, Accept: 'application/json' },
    })
    expect([response.status, response.json().reason]).toEqual([status, reason])
  })

  it('is a page for people when somebody only visits it, and is refused with a token in the address', async () => {
    const visit = await scene.send('/notes/.ocm/open', { headers: { accept: 'text/html' } })
    expect([visit.status, visit.header('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
    expect(visit.body.toString()).toContain('Open this from your cloud')
    expect((await scene.send('/notes/.ocm/open?access_token=x')).status).toBe(400)
    expect((await scene.send('/notes/.ocm/open?access_token=x', form({ access_token: 'y' }))).status).toBe(400)
  })

  it('access_token_ttl must agree with the token’s exp, in milliseconds', async () => {
    const share = await scene.share()
    const exp = Math.floor(Date.now() / 1000) + 600
    const token = await scene.token({ share, claims: { exp } })
    const ttl = async (value: number) =>
      (await launch(scene.gateway, token, { fields: { access_token_ttl: String(value) } })).status
    expect([await ttl(exp * 1000), await ttl((exp + 299) * 1000)]).toEqual([303, 303])
    expect([await ttl(exp), await ttl((exp + 301) * 1000), await ttl(exp * 10_000)]).toEqual([401, 401, 401])
  })
})

function tokens(value: string): (readonly [string, string])[] {
  return [['access_token', value]]
}

describe('where a launch ends', () => {
  it.each([
    { at: '/slides/.ocm/open', location: '/slides/lab/tree/' },
    { at: '/services/ocm/open', location: '/slides/lab/tree/' },
    { at: '/slides/.ocm/open/sub/a%20b.ipynb', location: '/slides/lab/tree/sub/a%20b.ipynb' },
    { at: '/services/ocm/open/notes/a%20b.ipynb', location: '/slides/lab/tree/notes/a%20b.ipynb' },
    { at: '/slides/.ocm/open/4711', location: '/slides/lab/tree/4711' },
    { at: '/slides/.ocm/open/%23%3F.md', location: '/slides/lab/tree/%23%3F.md' },
  ])('$at → $location', async ({ at, location }) => {
    const opened = await scene.open({ uri: `${scene.gateway.origin}/slides/.ocm/open` }, { at })
    expect(opened.location).toBe(location)
  })

  it.each(['..%2f..%2fetc', '../x', 'a/../../x', '%2e%2e/x', 'a%5cb', 'a//b', 'a%00'])(
    '…/open/%s is refused',
    async (suffix) => {
      const share = await scene.share({ uri: `${scene.gateway.origin}/slides/.ocm/open` })
      const token = await scene.token({ share })
      expect((await launch(scene.gateway, token, { at: `/slides/.ocm/open/${suffix}` })).status).toBe(400)
    },
  )

  it('is the webapp that the share names, no other', async () => {
    const share = await scene.share({ uri: `${scene.gateway.origin}/slides/.ocm/open` })
    const refused = await launch(scene.gateway, await scene.token({ share }), {
      headers: { accept: 'application/json' },
    })
    expect([refused.status, refused.response.json().reason]).toEqual([404, 'wrong_webapp'])
  })
})

describe('the same token again', () => {
  it('gives the same browser its session back, and another browser one of its own', async () => {
    const first = await scene.open()
    const tabs = [first, first].map(({ cookie }) => launch(scene.gateway, first.token, { headers: { cookie } }))
    for (const tab of await Promise.all(tabs)) expect([tab.status, tab.setCookie]).toEqual([303, ''])
    const other = await launch(scene.gateway, first.token)
    expect(other.cookie).not.toBe(first.cookie)
    expect((await sessionOf(first)).user).toBe((await sessionOf(other)).user)
  })

  it('does not revive a session that was logged out', async () => {
    const first = await scene.open()
    await wayBack(first)
    const again = await launch(scene.gateway, first.token, { headers: { cookie: first.cookie } })
    expect(again.cookie).toMatch(/=[\w-]{43}$/)
    expect(again.cookie).not.toBe(first.cookie)
  })
})

describe('a newer token', () => {
  it('of the same person and share prolongs all their sessions that end with the token', async () => {
    const share = await scene.share({ mode: 'self-contained' })
    const exp = Math.floor(Date.now() / 1000) + 600
    const [older, newer] = [
      await scene.token({ share, claims: { exp } }),
      await scene.token({ share, claims: { exp: exp + 600 } }),
    ]
    const [here, there] = [await launch(scene.gateway, older), await launch(scene.gateway, older)]
    expect((await sessionOf(there)).expiresAt).toBe(exp)
    expect((await launch(scene.gateway, newer, { headers: { cookie: here.cookie } })).setCookie).toBe('')
    expect([(await sessionOf(here)).expiresAt, (await sessionOf(there)).expiresAt]).toEqual([exp + 600, exp + 600])
    await launch(scene.gateway, older, { headers: { cookie: here.cookie } })
    expect((await sessionOf(here)).expiresAt).toBe(exp + 600)
  })
})

describe('a self-contained token', () => {
  it('opens the share that it carries, until its own end, and leaves no record', async () => {
    const share = await scene.share({ mode: 'self-contained', permissions: ['view'] })
    const exp = Math.floor(Date.now() / 1000) + 300
    const opened = await launch(scene.gateway, await scene.token({ share, claims: { exp } }))
    expect(await sessionOf(opened)).toMatchObject({
      mode: 'self-contained',
      user: BOB,
      owner: scene.alice.address,
      permissions: ['view'],
      expiresAt: exp,
      share: { id: share.providerId, name: 'Field notes.md' },
    })
    const gone = await scene.alice.revoke({ sender: scene.alice.address, providerId: share.providerId })
    expect(gone.body).toEqual({ status: 'gone' })
    expect((await launch(scene.gateway, await scene.token({ share }))).status).toBe(410)
  })

  it('does not widen what was provisioned: the record wins over the claim', async () => {
    const share = await scene.share({ permissions: ['view'] })
    const wider = { ...share, mode: 'self-contained' as const, permissions: ['view', 'read', 'write'] as const }
    const opened = await launch(scene.gateway, await scene.token({ share: wider }))
    expect(await sessionOf(opened)).toMatchObject({ mode: 'provisioned', permissions: ['view'] })
  })

  it('of a server that may only provision is refused', async () => {
    const share = await carol.share({
      shareWith: BOB,
      notify: false,
      mode: 'self-contained',
      uri: `${scene.gateway.origin}/notes/.ocm/open`,
    })
    expect((await launch(scene.gateway, await carol.mintToken({ share }))).status).toBe(404)
  })
})

describe('provisioning the same share again', () => {
  it('is answered 201 each time', async () => {
    const share = await scene.share()
    const body = scene.alice.notification(share)
    const answers = [await scene.alice.provision(body), await scene.alice.provision(body)]
    expect(answers.map(({ status, body }) => [status, body])).toEqual([
      [201, { status: 'stored' }],
      [201, { status: 'stored' }],
    ])
  })

  it('with fewer permissions narrows the open session: its WebSocket is cut, writing is refused, reading goes on', async () => {
    const opened = await scene.open()
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    await scene.alice.provision(scene.alice.notification({ ...opened.share, permissions: ['view', 'read'] }))
    await live.closed
    const write = { method: 'PUT', headers: { origin: scene.gateway.origin }, body: 'x' }
    expect((await scene.visit('/notes/a', opened, write)).status).toBe(403)
    expect((await scene.visit('/notes/a', opened)).status).toBe(200)
    expect((await openWebSocket(scene.gateway, '/notes/live', opened)).status).toBe(403)
    expect(await sessionOf(opened)).toMatchObject({ permissions: ['view', 'read'] })
  })

  it('with more permissions widens it, and cuts nothing', async () => {
    const opened = await scene.open({ permissions: ['view'] })
    await scene.alice.provision(scene.alice.notification({ ...opened.share, permissions: ['view', 'write'] }))
    const write = { method: 'PUT', headers: { origin: scene.gateway.origin }, body: 'x' }
    expect((await scene.visit('/notes/a', opened, write)).status).toBe(200)
  })

  it.each([
    { what: 'another recipient', change: { shareWith: 'eve@bob.localhost:8443' } },
    { what: 'another resource', change: { name: 'Something else.md' } },
    { what: 'an end that has passed', change: { expiration: 1_700_000_000 } },
  ])('with $what ends it', async ({ change }) => {
    const opened = await scene.open()
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    await scene.alice.provision({ ...scene.alice.notification(opened.share), ...change })
    await live.closed
    expect((await scene.visit('/notes/a', opened)).status).toBe(401)
  })
})

describe('revoking', () => {
  const revoke = async (server: SendingServer, providerId: string) =>
    (await server.revoke({ sender: server.address, providerId })).body

  it('a known share: revoked; again, or an unknown one: gone', async () => {
    const { providerId } = await scene.share()
    expect([await revoke(scene.alice, providerId), await revoke(scene.alice, providerId)]).toEqual([
      { status: 'revoked' },
      { status: 'gone' },
    ])
    expect(await revoke(scene.alice, 'never-heard-of')).toEqual({ status: 'gone' })
  })

  it('by another paired server with the same id: gone, and the share stays open', async () => {
    const opened = await scene.open()
    carol.pair({ integrationApi: `${scene.gateway.origin}/ocm`, launchUrl: '', appName: '' })
    expect(await revoke(carol, opened.share.providerId)).toEqual({ status: 'gone' })
    expect((await scene.visit('/notes/a', opened)).status).toBe(200)
    expect((await launch(scene.gateway, opened.token)).status).toBe(303)
  })

  it.each(['providerId', 'clientId'])('at the older /close, with %s', async (field) => {
    const opened = await scene.open()
    const body = JSON.stringify({ sender: scene.alice.address, [field]: opened.share.providerId })
    const answer = await scene.alice.send(`${scene.gateway.origin}/ocm/close`, 'json', body)
    expect([answer.status, answer.body]).toEqual([200, { status: 'revoked' }])
    expect((await scene.visit('/notes/a', opened)).status).toBe(401)
  })

  it('a share that was pushed with the older clientId, by that id', async () => {
    const share = await scene.share({ mode: 'self-contained' })
    const body = scene.alice.notification(share)
    const clientId = `token-${share.providerId}`
    await scene.alice.provision({
      ...body,
      protocol: { ...body.protocol, webapp: { ...body.protocol.webapp, clientId } },
    })
    const opened = await launch(
      scene.gateway,
      await scene.token({ share, claims: { client_id: clientId, ocm_ip: undefined } }),
    )
    expect(opened.status).toBe(303)
    expect((await scene.alice.revoke({ sender: scene.alice.address, clientId })).body).toEqual({ status: 'revoked' })
    expect((await scene.visit('/notes/a', opened)).status).toBe(401)
  })
})

describe('the receiver’s unsigned /close', () => {
  const closeWith = (token: string) => send(scene.gateway, '/ocm/close', form({ access_token: token }))

  it('ends that person’s sessions of the share and keeps the record', async () => {
    const [opened, other] = [await scene.open(), await scene.open()]
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    const answer = await closeWith(opened.token)
    await live.closed
    expect([answer.status, answer.json()]).toEqual([200, { status: 'closed' }])
    expect((await scene.visit('/notes/a', opened)).status).toBe(401)
    expect((await scene.visit('/notes/a', other)).status).toBe(200)
    expect((await launch(scene.gateway, opened.token)).status).toBe(303)
  })

  it('is refused with a token that does not verify', async () => {
    const opened = await scene.open()
    const forged = `${opened.token.slice(0, -8)}AAAAAAAA`
    expect((await closeWith(forged)).status).toBe(401)
    expect((await scene.visit('/notes/a', opened)).status).toBe(200)
  })
})
