import type { IncomingMessage, RequestListener } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createOutbound } from '../../src/core/outbound.ts'
import { systemClock } from '../../src/core/time.ts'
import { close, listen } from '../../src/demo/listen.ts'
import { type ReceivingServer, startReceivingServer } from '../../src/demo/receiving-server.ts'
import { type SendingServer, startSendingServer } from '../../src/demo/sending-server.ts'
import { notificationWithSecret } from '../../src/demo/sent-share.ts'
import { verifySignature } from '../../src/trust/http-signature.ts'
import { importVerificationKey } from '../../src/trust/jwk.ts'

interface Pushed {
  readonly req: IncomingMessage
  readonly body: Buffer
}

/** The far end of the back channel: keeps what is pushed, and takes every share unless it is told not to. */
async function startProtocolServer() {
  const pushed: Pushed[] = []
  const answer = { status: 201 }
  const listener: RequestListener = async (req, res) => {
    pushed.push({ req, body: await buffer(req) })
    res
      .writeHead(req.url === '/ocm/revoke' ? 200 : answer.status, { 'content-type': 'application/json' })
      .end('{"status":"stored"}')
  }
  const { server, port } = await listen(listener, 0)
  const url = `http://apps.localhost:${port}`
  return { url, pushed, answer, close: () => close(server) }
}

const outbound = createOutbound({ insecureLoopback: true })
const limits = { timeoutSeconds: 5, maxBytes: 1_000_000, operatorNamed: true }

let alice: SendingServer
let bob: ReceivingServer
let apps: Awaited<ReturnType<typeof startProtocolServer>>

beforeAll(async () => {
  bob = await startReceivingServer()
  alice = await startSendingServer({ contacts: [bob.address] })
  apps = await startProtocolServer()
  alice.pair({ integrationApi: `${apps.url}/ocm`, launchUrl: `${apps.url}/notes/.ocm/open`, appName: 'Notes' })
})
afterAll(() => Promise.all([alice.close(), bob.close(), apps.close(), outbound.close()]))

async function publishedKeys() {
  const { jwksUri } = (await outbound.getJson(`${alice.url}/.well-known/ocm`, limits)) as { jwksUri: string }
  return (await outbound.getJson(jwksUri, limits)) as { keys: { kid: string }[] }
}

async function findKey(kid: string) {
  const key = importVerificationKey((await publishedKeys()).keys.find((jwk) => jwk.kid === kid))
  if (typeof key === 'string') throw new Error(key)
  return key
}

describe('a share from Alice to Bob', () => {
  it('is pushed before Bob hears of it, signed, and without its secret', async () => {
    const told = bob.hits.shares
    const share = await alice.share({ permissions: ['view', 'read'] })
    const { req, body } = apps.pushed.at(-1) ?? expect.fail('nothing was pushed')
    const headers = Object.entries(req.headers).map(([name, value]) => [name, String(value)] as const)
    const message = { method: 'POST', targetUri: `${apps.url}/ocm/shares`, headers }

    const verified = await verifySignature(message, body, {
      now: systemClock(),
      senderDomain: alice.domain,
      tolerateUntagged: false,
      findKey,
    })

    expect(verified.keyid).toBe(`${alice.issuer}/ocm#ecdsa-p256-sha256-1`)
    expect(body.toString()).not.toContain('sharedSecret')
    expect(JSON.parse(body.toString())).toMatchObject({
      providerId: share.providerId,
      sender: alice.address,
      shareWith: bob.address,
    })
    expect(bob.hits.shares).toBe(told + 1)
  })

  it('is in Bob’s list, with what Bob needs to open it', async () => {
    const { providerId } = await alice.share({ permissions: ['view'], targets: ['blank'] })
    const received = bob.shares().find((share) => share.providerId === providerId)
    expect(received).toMatchObject({ owner: alice.address, senderDomain: alice.domain, name: 'Field notes.md' })
    expect(received?.protocol.webapp).toMatchObject({
      uri: `${apps.url}/notes/.ocm/open`,
      targets: ['blank'],
      permissions: ['view'],
    })
    const { body } = await outbound.request(bob.url, {}, limits)
    expect(body.toString()).toContain('Field notes.md')
  })

  it('gives Bob’s server a token for its secret: the claims and header of current Nextcloud', async () => {
    const { received, providerId } = await shareReceived()
    const { action, fields } = await bob.launch(received)
    const { payload } = await jwtVerify(fields.access_token, createLocalJWKSet(await publishedKeys()), {
      typ: 'at+jwt',
    })

    expect(payload).toMatchObject({ iss: alice.issuer, sub: 'alice', aud: bob.address, client_id: providerId })
    expect(payload.exp).toBe((payload.iat ?? 0) + 3600)
    expect(decodeProtectedHeader(fields.access_token)).toMatchObject({
      alg: 'ES256',
      kid: `${alice.issuer}/ocm#ecdsa-p256-sha256-1`,
    })
    expect(action).toBe(`${apps.url}/notes/.ocm/open`)
    expect(fields.expired_session_redirect_uri).toBe(`${bob.url}/session-ended/${received.id}`)
  })

  it('is launched with the same token until that has nearly ended', async () => {
    const { received } = await shareReceived()
    const exchanges = alice.hits.token
    const [first, second] = [await bob.launch(received), await bob.launch(received)]
    expect(second.fields.access_token).toBe(first.fields.access_token)
    expect(alice.hits.token).toBe(exchanges + 1)
  })

  it('carries itself in ocm_ip when it is self-contained, and is not pushed', async () => {
    const before = apps.pushed.length
    const share = await alice.share({ mode: 'self-contained' })
    const { payload } = await jwtVerify(await alice.mintToken({ share }), createLocalJWKSet(await publishedKeys()))
    expect(apps.pushed).toHaveLength(before)
    expect(payload.ocm_ip).toMatchObject({ providerId: share.providerId, resourceType: 'file', name: 'Field notes.md' })
    expect(JSON.stringify(payload)).not.toContain(share.sharedSecret)
  })

  it('is gone from Bob’s list once it is revoked', async () => {
    const { providerId } = await shareReceived()
    await alice.unshare(providerId)
    const { req, body } = apps.pushed.at(-1) ?? expect.fail('nothing was pushed')
    expect(req.url).toBe('/ocm/revoke')
    expect(JSON.parse(body.toString())).toEqual({ sender: alice.address, providerId })
    expect(bob.shares().map((share) => share.providerId)).not.toContain(providerId)
  })

  it('is not made when the push is refused', async () => {
    apps.answer.status = 503
    const known = bob.shares().length
    const made = alice.shares().length
    await expect(alice.share()).rejects.toThrow('503')
    apps.answer.status = 201
    expect(bob.shares()).toHaveLength(known)
    expect(alice.shares()).toHaveLength(made)
  })
})

describe('what the clouds refuse', () => {
  it('an exchange that another server signed', async () => {
    const { received } = await shareReceived()
    const carol = await startReceivingServer({ host: 'carol.localhost', user: 'carol' })
    const code = received.protocol.webapp.sharedSecret
    const form = new URLSearchParams({ grant_type: 'authorization_code', client_id: bob.domain, code })
    const answer = await carol.send(`${alice.url}/ocm/token`, 'form', form.toString())
    await carol.close()
    expect(answer).toMatchObject({ status: 401, body: { error: 'signature_keyid' } })
  })

  it('a share or an unsharing whose signature is not the sender’s', async () => {
    const share = await alice.share()
    const mallory = await startSendingServer({ host: 'mallory.localhost' })
    const forged = JSON.stringify(notificationWithSecret(share))
    const shared = await mallory.send(`${bob.url}/ocm/shares`, 'json', forged)
    const body = JSON.stringify({
      notificationType: 'SHARE_UNSHARED',
      providerId: share.providerId,
      resourceType: 'file',
    })
    await mallory.send(`${bob.url}/ocm/notifications`, 'json', body)
    await mallory.close()
    expect(shared).toMatchObject({ status: 401, body: { error: 'signature_keyid' } })
    expect(bob.shares().map(({ providerId }) => providerId)).toContain(share.providerId)
  })

  it('a key that was dropped; one that is withheld signs and is not published', async () => {
    const first = alice.keys.current
    const second = alice.keys.add('Ed25519')
    expect((await publishedKeys()).keys.map(({ kid }) => kid)).toEqual([first.keyid, `${alice.issuer}/ocm#ed25519-1`])
    alice.keys.withhold(second)
    await expect(alice.share()).rejects.toThrow('401')
    alice.keys.drop(second)
    await expect(alice.share()).resolves.toMatchObject({ owner: alice.address })
  })
})

describe('Alice’s files over WebDAV', () => {
  const dav = (
    url: string,
    token: string,
    init: { method?: string; body?: string; headers?: Record<string, string> } = {},
  ) => outbound.request(url, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } }, limits)

  it('are read and written with the newest token of the share; an older one is refused', async () => {
    const share = await alice.share()
    const { uri } = alice.notification(share).protocol.webdav
    const older = await tokenOf(share.providerId)
    const token = await tokenOf(share.providerId)
    const read = await dav(uri, token)
    const etag = read.headers.get('etag') ?? ''
    expect((await dav(uri, older)).status).toBe(401)
    expect((await dav(uri, token, { method: 'PUT', body: 'changed', headers: { 'if-match': '"other"' } })).status).toBe(
      412,
    )
    expect((await dav(uri, token, { method: 'PUT', body: 'changed', headers: { 'if-match': etag } })).status).toBe(204)
    expect(alice.filesOf(share.resource)).toEqual({ '': 'changed' })
  })

  it('are not written by a share that may only be read, nor seen by a share of something else', async () => {
    const share = await alice.share({ permissions: ['view', 'read'], resource: 'Workshop agenda.md' })
    const token = await alice.mintToken({ share })
    const { uri } = alice.notification(share).protocol.webdav
    const other = alice.notification(await alice.share()).protocol.webdav.uri
    expect((await dav(uri, token, { method: 'PUT', body: 'x' })).status).toBe(403)
    expect((await dav(other, token)).status).toBe(404)
    const listing = await dav(uri, token, { method: 'PROPFIND', headers: { depth: '0' } })
    expect(listing.status).toBe(207)
    expect(listing.body.toString()).toContain('<d:getcontentlength>')
  })
})

describe('a shared folder over WebDAV', () => {
  const folder = {
    name: 'Survey 100%',
    resourceType: 'folder',
    mediaType: 'httpd/unix-directory',
    description: '',
  } as const
  const resource = { ...folder, files: { 'a.txt': 'one', 'b & c.txt': 'two' } }
  let carol: SendingServer
  let uri: string
  let token: string

  beforeAll(async () => {
    carol = await startSendingServer({ host: 'carol.localhost', user: 'carol', resources: [resource] })
    const share = await carol.share({
      shareWith: bob.address,
      mode: 'self-contained',
      uri: `${apps.url}/notes/.ocm/open`,
    })
    uri = alice.notification(share).protocol.webdav.uri
    token = await carol.mintToken({ share })
  })
  afterAll(() => carol.close())

  const dav = (path: string, method: string, headers: Record<string, string> = {}, body?: string) =>
    outbound.request(
      `${uri}${path}`,
      { method, headers: { authorization: `Bearer ${token}`, ...headers }, ...(body && { body }) },
      limits,
    )

  it('lists its files, one level at a time', async () => {
    const { body } = await dav('/', 'PROPFIND', { depth: '1' })
    const hrefs = [...body.toString().matchAll(/<d:href>([^<]+)/g)].map(([, href]) => `${carol.url}${href}`)
    expect(hrefs).toEqual([`${uri}/`, `${uri}/a.txt`, `${uri}/b%20%26%20c.txt`])
    expect((await dav('/', 'PROPFIND', { depth: 'infinity' })).status).toBe(403)
  })

  it('takes new folders and files, moves and deletes them, and changes nothing that If-None-Match protects', async () => {
    expect((await dav('/sub/x.txt', 'PUT', {}, 'x')).status).toBe(409)
    expect((await dav('/sub', 'MKCOL')).status).toBe(201)
    expect((await dav('/sub/x.txt', 'PUT', {}, 'x')).status).toBe(201)
    expect((await dav('/a.txt', 'PUT', { 'if-none-match': '*' }, 'other')).status).toBe(412)
    expect((await dav('/sub', 'MOVE', { destination: `${uri}/moved` })).status).toBe(201)
    expect((await dav('/b%20%26%20c.txt', 'DELETE')).status).toBe(204)
    expect(carol.filesOf(resource)).toEqual({ 'a.txt': 'one', 'moved/x.txt': 'x' })
  })
})

describe('an endpoint that is told to misbehave', () => {
  it('answers what it is told to, and goes on counting', async () => {
    const before = alice.hits.jwks
    alice.faults.jwks = { status: 200, body: '{"keys":[]}' }
    expect(await publishedKeys()).toEqual({ keys: [] })
    alice.faults.jwks = { hang: true }
    await expect(
      outbound.getJson(`${alice.url}/.well-known/jwks.json`, { ...limits, timeoutSeconds: 0.2 }),
    ).rejects.toThrow()
    delete alice.faults.jwks
    expect((await publishedKeys()).keys).toHaveLength(1)
    expect(alice.hits.jwks).toBe(before + 3)
  })
})

async function shareReceived() {
  const { providerId } = await alice.share()
  const received = bob.shares().find((share) => share.providerId === providerId) ?? expect.fail('Bob has no such share')
  return { providerId, received }
}

async function tokenOf(providerId: string): Promise<string> {
  const received = bob.shares().find((share) => share.providerId === providerId) ?? expect.fail('Bob has no such share')
  return (await bob.exchange(received)).access_token
}
