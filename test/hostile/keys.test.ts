import { randomUUID } from 'node:crypto'
import { createServer, type Server } from 'node:net'
import { hostname } from 'node:os'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type SendingServer, startSendingServer } from '../../src/demo/sending-server.ts'
import { BOB, launch, pairWith, type Scene, startScene } from '../flow/harness.ts'
import { keepSecret } from '../flow/leaks.ts'

const FAULTY = ['slow', 'huge', 'redirecting', 'html', 'empty', 'down', 'broken'] as const
const INSIDE = ['literal', 'resolved', 'plain'] as const
const UNUSABLE = ['private', 'encryption', 'mismatched'] as const

let scene: Scene
let inside: Server
let connections = 0
const servers = new Map<string, SendingServer>()
const serverOf = (name: string) => servers.get(name) ?? expect.fail(`no server ${name}`)

beforeAll(async () => {
  // Something of ours that no other server may make us call.
  inside = createServer((socket) => {
    connections += 1
    socket.destroy()
  })
  await new Promise<void>((resolve) => inside.listen(0, '0.0.0.0', resolve))
  for (const name of [...FAULTY, ...INSIDE, ...UNUSABLE, 'carol'])
    servers.set(name, await startSendingServer({ host: `${name}.localhost` }))
  scene = await startScene({
    ocmServers: [...servers.values()].map(({ domain }) => ({ domain, modes: ['provisioned', 'self-contained'] })),
  })
  for (const server of servers.values()) pairWith(server, scene.gateway)
})
afterAll(async () => {
  await scene.close()
  await Promise.all([...servers].map(([name, server]) => name !== 'down' && server.close()))
  inside.close()
})

/** Opens a self-contained share of that server. */
async function open(server: SendingServer, header: object = {}) {
  const share = await server.share({ mode: 'self-contained', shareWith: BOB, notify: false })
  const token = keepSecret(await server.mintToken({ share, header }))
  const { status, response } = await launch(scene.gateway, token, { headers: { accept: 'application/json' } })
  return {
    status,
    reason: status === 303 ? undefined : response.json().reason,
    retryAfter: response.header('retry-after'),
  }
}

describe('flood of random `kid`s', () => {
  it('one outgoing fetch per cooldown and pairing; the others are not slowed', async () => {
    expect((await open(scene.alice)).status).toBe(303)
    const { jwks } = scene.alice.hits
    const flood = Array.from({ length: 60 }, () =>
      open(scene.alice, { kid: `${scene.alice.issuer}/ocm#${randomUUID()}` }),
    )
    const [carols] = await Promise.all([open(serverOf('carol')), ...flood])
    expect(carols.status).toBe(303)
    for (const answer of await Promise.all(flood)) expect(answer).toMatchObject({ status: 401, reason: 'key_unknown' })
    expect(scene.alice.hits.jwks - jwks).toBeLessThanOrEqual(1)
    expect((await open(scene.alice)).status).toBe(303)
  })
})

describe('key endpoint slow, huge, redirecting, HTML, empty set, down: 503 not 401', () => {
  const goodKeys = (server: SendingServer, more = {}) => JSON.stringify({ ...server.keys.jwks(), ...more })
  const faults: Record<(typeof FAULTY)[number], (server: SendingServer) => SendingServer['faults']['jwks']> = {
    slow: () => ({ hang: true }),
    huge: (server) => ({ body: goodKeys(server, { padding: 'x'.repeat(300 * 1024) }) }),
    redirecting: () => ({
      status: 302,
      headers: { location: `${serverOf('carol').url}/.well-known/jwks.json` },
      body: '',
    }),
    html: () => ({ headers: { 'content-type': 'text/html' }, body: '<!doctype html><title>Login</title>' }),
    empty: () => ({ body: '{"keys":[]}' }),
    down: () => undefined,
    broken: (server) => ({ status: 500, body: goodKeys(server) }),
  }

  it.concurrent.each(FAULTY)('%s', async (name) => {
    const server = serverOf(name)
    if (name === 'down') await server.close()
    Object.assign(server.faults, { jwks: faults[name](server) })
    const carols = serverOf('carol').hits.jwks
    const started = performance.now()
    const answer = await open(server)
    expect(answer).toMatchObject({
      status: 503,
      reason: 'keys_unavailable',
      retryAfter: expect.stringMatching(/^\d+$/),
    })
    expect(performance.now() - started).toBeLessThan(8000)
    expect(serverOf('carol').hits.jwks, 'off-host redirects are not followed').toBe(carols)
  })

  it('the last good keys go on serving, and an unknown one is 503 meanwhile', async () => {
    const carol = serverOf('carol')
    expect((await open(carol)).status).toBe(303)
    carol.faults.jwks = { status: 500, body: '' }
    expect(await open(carol, { kid: `${carol.issuer}/ocm#new` })).toMatchObject({
      status: 503,
      reason: 'keys_unavailable',
    })
    expect((await open(carol)).status).toBe(303)
    delete carol.faults.jwks
  })
})

describe('key URL resolves to a private or link-local address (SSRF)', () => {
  it.each([
    { name: 'literal', jwksUri: (port: number) => `https://0.0.0.0:${port}/keys` },
    { name: 'resolved', jwksUri: (port: number) => `https://${hostname()}:${port}/keys` },
    { name: 'plain', jwksUri: (port: number) => `http://${hostname()}:${port}/keys` },
  ])('$name: refused, and nothing is connected to', async ({ name, jwksUri }) => {
    const { port } = inside.address() as { port: number }
    serverOf(name).faults.discovery = { body: JSON.stringify({ jwksUri: jwksUri(port) }) }
    expect(await open(serverOf(name))).toMatchObject({ status: 503, reason: 'keys_unavailable' })
    expect(connections).toBe(0)
  })
})

describe('a published key that is private, for encryption, or of an algorithm that does not fit it', () => {
  it.each([
    { name: 'private', change: { d: 'AAAA' } },
    { name: 'encryption', change: { use: 'enc' } },
    { name: 'mismatched', change: { alg: 'RS256' } },
  ] as const)('$name: is not used, although it would verify', async ({ name, change }) => {
    const server = serverOf(name)
    server.faults.jwks = { body: JSON.stringify({ keys: [{ ...server.keys.current.publicJwk, ...change }] }) }
    expect(await open(server)).toMatchObject({ status: 503, reason: 'keys_unavailable' })
  })
})
