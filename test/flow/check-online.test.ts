import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { close, freePort, listen } from '../../src/demo/listen.ts'
import { type SendingServer, startSendingServer } from '../../src/demo/sending-server.ts'
import { type IntrospectionEndpoint, startIntrospectionEndpoint } from './introspection-endpoint.ts'
import { type Recorder, startRecorder } from './recorder.ts'

const SECRET = 'a-secret-that-is-not-for-the-terminal'

let alice: SendingServer
let app: Recorder
let endpoint: IntrospectionEndpoint
let dead: number
let folder: string
const servers: { close(): Promise<void> }[] = []

beforeAll(async () => {
  ;[alice, app, endpoint, dead] = await Promise.all([
    startSendingServer(),
    startRecorder(),
    startIntrospectionEndpoint(),
    freePort(),
  ])
  folder = mkdtempSync(join(tmpdir(), 'check-'))
  mkdirSync(join(folder, 'data'))
  writeFileSync(join(folder, 'secret'), SECRET)
})
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})
afterAll(async () => {
  await Promise.all([alice.close(), app.close(), endpoint.close()])
  rmSync(folder, { recursive: true })
})

/** A server on loopback, closed after the test. @returns its address */
async function serve(listener: RequestListener): Promise<string> {
  const { server, port } = await listen(listener, 0)
  servers.push({ close: () => close(server) })
  return `http://localhost:${port}`
}

/** `ocm-gateway check --online` of a pairing with Alice’s cloud and a webapp, both with these changes. */
async function check(pairing: Record<string, unknown> = {}, webapp: Record<string, unknown> = {}, online = true) {
  const file = join(folder, 'gateway.yaml')
  const server = { publicUrl: 'http://apps.localhost:8080', insecureLoopback: true, signingKeyFile: './data/key.json' }
  const notes = { name: 'notes', kind: 'generic', publicUrl: 'http://apps.localhost:8080/', upstream: app.url }
  const document = { server, ocmServers: [{ domain: alice.domain, ...pairing }], webapps: [{ ...notes, ...webapp }] }
  writeFileSync(file, JSON.stringify(document))
  const args = ['src/cli.ts', 'check', '--config', file, ...(online ? ['--online'] : [])]
  const child = spawn(process.execPath, args, { stdio: 'pipe' })
  const exited = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? -1)))
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), exited])
  expect(err).toBe('')
  expect(out).not.toContain(SECRET)
  return { code, lines: out.split('\n').slice(0, -1) }
}

const introspected = (introspection: Record<string, unknown>) => ({
  modes: ['introspected'],
  introspection: { auth: 'none', ...introspection },
})

describe('check --online', () => {
  it('says what it found well, and changes nothing', async () => {
    const pairing = { modes: ['provisioned', 'introspected'], introspection: { url: endpoint.url, auth: 'none' } }
    const before = endpoint.asked
    expect(await check(pairing)).toEqual({
      code: 0,
      lines: [
        `ocmServers[0].domain: ok, its keys are at ${alice.url}/.well-known/jwks.json`,
        'ocmServers[0].keysUrl: ok, 1 key',
        'ocmServers[0].introspection: ok, it knows us, and a credential that nobody issued is not active',
        'webapps[0].upstream: ok, it answers 200',
      ],
    })
    expect(endpoint.asked).toBe(before + 1)
    expect(() => readFileSync(join(folder, 'data/key.json'))).toThrow('ENOENT')
  })

  it('is quiet, and asks nobody, without --online', async () => {
    const before = [endpoint.asked, alice.hits.jwks]
    const unreachable = { upstream: `http://localhost:${dead}/` }
    expect(await check(introspected({ url: endpoint.url }), unreachable, false)).toEqual({ code: 0, lines: [] })
    expect([endpoint.asked, alice.hits.jwks]).toEqual(before)
  })

  it('names every peer that does not answer, and goes on with the others', async () => {
    const keysUrl = `http://localhost:${dead}/keys`
    const { code, lines } = await check({ keysUrl }, { upstream: `http://localhost:${dead}/` })
    expect(code).toBe(1)
    expect(lines).toEqual([
      expect.stringMatching(/^ocmServers\[0\]\.keysUrl: cannot be reached: .+ \(compare the address\)$/),
      expect.stringMatching(/^webapps\[0\]\.upstream: cannot be reached: .+ \(compare the address, and whether/),
    ])
  })

  it('says which keys are of no use, and why', async () => {
    const rsa = { kty: 'RSA', kid: 'for-encryption', use: 'enc' }
    const keysUrl = await serve(
      (_req, res) => void res.end(JSON.stringify({ keys: [rsa, { kty: 'oct', kid: 'k\n2' }] })),
    )
    const { code, lines } = await check({ keysUrl })
    expect(code).toBe(1)
    expect(lines[0]).toBe(
      'ocmServers[0].keysUrl: there is no usable key (must publish one for signatures); not usable: for-encryption: use is enc, not sig, k 2: kty oct is not supported',
    )
  })

  it.each([
    [401, 'none', 'answers 401: it does not know us (choose another auth, with the credentials that it gave you)'],
    [
      401,
      'client_secret_basic',
      'answers 401: it does not know us (compare clientId and clientSecretFile with what is registered there)',
    ],
    [403, 'bearer', 'answers 403: it knows us, and does not let us ask (our client needs the right to introspect)'],
    [
      404,
      'none',
      'answers 404: no introspection endpoint is there (compare url with introspection_endpoint in its metadata)',
    ],
    [500, 'none', 'answers 500: something is wrong at its side (its operator has to look)'],
  ])('explains an introspection endpoint that answers %i (auth: %s)', async (status, auth, expected) => {
    const url = await serve((_req, res) => void res.writeHead(status).end(`no, ${SECRET}`))
    const secret = auth === 'none' ? {} : { clientId: 'gateway', clientSecretFile: './secret' }
    const { code, lines } = await check(introspected({ url, auth, ...secret }))
    expect([code, lines[0]]).toEqual([1, `ocmServers[0].introspection: ${expected}`])
  })

  it.each([
    [
      'HTML',
      '<html>',
      /^answers 200, and no introspection answer: \S+ \(must be 200 and JSON with "active", RFC 7662\)$/,
    ],
    ['that everything is active', '{"active":true}', /^calls a credential active that nobody issued/],
  ])('is not content with an introspection endpoint that says %s', async (_what, body, expected) => {
    const url = await serve((_req, res) => void res.writeHead(200, { 'content-type': 'application/json' }).end(body))
    const { code, lines } = await check(introspected({ url }))
    expect(code).toBe(1)
    expect(lines[0]?.replace('ocmServers[0].introspection: ', '')).toMatch(expected)
  })

  it('says that an endpoint does not answer in time', async () => {
    const url = await serve(() => {})
    const { code, lines } = await check(introspected({ url }))
    expect([code, lines[0]]).toEqual([1, expect.stringContaining('introspection: cannot be reached: ')])
  })

  it('cannot sign before there is a key', async () => {
    const { code, lines } = await check(introspected({ url: endpoint.url, auth: 'http-signature' }))
    expect([code, lines[0]]).toEqual([
      1,
      'ocmServers[0].introspection: cannot be tried with auth: http-signature before server.signingKeyFile is there (start the gateway once)',
    ])
  })

  it('takes an app that is broken for a problem, and one that refuses for an app', async () => {
    const broken = await serve((_req, res) => void res.writeHead(502).end())
    const refusing = await serve((_req, res) => void res.writeHead(302, { location: 'https://sso.example.org/' }).end())
    expect((await check({}, { upstream: `${broken}/` })).lines.at(-1)).toBe(
      'webapps[0].upstream: answers 502 (must be an app that works)',
    )
    expect(await check({}, { upstream: `${refusing}/` })).toMatchObject({ code: 0 })
  })

  it('asks a hub what the kind needs', async () => {
    const hub = { kind: 'jupyterhub', upstream: `http://localhost:${dead}/`, jupyterhub: { apiTokenFile: './secret' } }
    const { code, lines } = await check({}, hub)
    expect(code).toBe(1)
    expect(lines.at(-1)).toMatch(
      /^webapps\[0\]\.jupyterhub\.apiUrl: cannot be reached: .+ \(compare the address, and whether the hub runs\)$/,
    )
  })
})
