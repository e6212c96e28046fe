import type { RequestListener } from 'node:http'
import { afterEach, expect, it } from 'vitest'
import { checkHub } from '../../../../src/apps/jupyterhub/check-hub.ts'
import type { JupyterhubOptions } from '../../../../src/apps/jupyterhub/options.ts'
import type { Webapp } from '../../../../src/config/schema.ts'
import { createOutbound } from '../../../../src/core/outbound.ts'
import { Secret } from '../../../../src/core/secret.ts'
import { close, freePort, listen } from '../../../../src/demo/listen.ts'

const TOKEN = 'service-token-0123456789abcdef'
const ALL = ['admin:users', 'delete:servers', 'read:users', 'servers', 'tokens', 'users']

const cleanup: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const clean of cleanup.splice(0)) await clean()
})

interface Hub {
  readonly version?: string
  readonly base?: string
  readonly scopes?: readonly string[]
}

/** What JupyterHub 5.5.4 answers to these two calls, as was measured; everything else is a 404 page. */
const hubAnswers =
  ({ version = '5.5.4', base = '/jupyter/', scopes = ALL }: Hub): RequestListener =>
  ({ url, headers }, res) => {
    const json = (status: number, body: object) => void res.writeHead(status).end(JSON.stringify(body))
    if (url === `${base}hub/api`) return json(200, { version })
    if (url !== `${base}hub/api/user`) return void res.writeHead(404).end('<!DOCTYPE HTML>')
    if (headers.authorization !== `token ${TOKEN}`) return json(403, { status: 403, message: 'Forbidden' })
    json(200, { kind: 'service', name: 'gateway', admin: false, token_id: 'a1', session_id: null, scopes })
  }

async function serve(listener: RequestListener): Promise<string> {
  const { server, port } = await listen(listener, 0)
  cleanup.push(() => close(server))
  return `http://localhost:${port}`
}

/** What is found at a hub; `api`: where its API is, when not below the upstream. */
async function found(upstream: string, { api = `${upstream}/jupyter/hub/api`, token = TOKEN } = {}) {
  const outbound = createOutbound({ insecureLoopback: true })
  cleanup.push(() => outbound.destroy())
  const options = { apiTokenFile: new Secret(token) }
  const webapp = { publicUrl: 'https://apps.example.org/jupyter/', upstream: `${upstream}/jupyter/`, options }
  const findings = await checkHub(webapp as Webapp<JupyterhubOptions>, api, outbound)
  expect(JSON.stringify(findings)).not.toContain(token)
  return findings.map(({ ok, path, message }) => `${ok ? 'well ' : 'wrong'} ${path}: ${message}`)
}

it('a hub in order: its version, whose token it is, and each scope with what it is for', async () => {
  expect(await found(await serve(hubAnswers({})))).toEqual([
    'well  jupyterhub.apiUrl: JupyterHub 5.5.4',
    'well  jupyterhub.apiTokenFile: the token of the service gateway',
    'well  jupyterhub.apiTokenFile: the scope admin:users (makes and removes the users of shares)',
    'well  jupyterhub.apiTokenFile: the scope servers (starts, watches and stops their servers)',
    'well  jupyterhub.apiTokenFile: the scope tokens (makes the tokens with which people reach them)',
  ])
})

it('a dead hub', async () => {
  expect(await found(`http://localhost:${await freePort()}`)).toEqual([
    expect.stringMatching(
      /^wrong jupyterhub\.apiUrl: cannot be reached: .+ \(compare the address, and whether the hub/,
    ),
  ])
})

it('a wrong token', async () => {
  expect((await found(await serve(hubAnswers({})), { token: 'another-token-0123' })).slice(1)).toEqual([
    'wrong jupyterhub.apiTokenFile: is not a token that the hub knows: it answers 403 (must be the api_token of a service)',
  ])
})

it('a missing scope, and one that is narrowed', async () => {
  const lines = await found(await serve(hubAnswers({ scopes: ['servers', 'tokens!group=ocm'] })))
  expect(lines.filter((line) => line.startsWith('wrong'))).toEqual([
    'wrong jupyterhub.apiTokenFile: lacks the scope admin:users, which makes and removes the users of shares (add it to the service’s role in load_roles)',
    'wrong jupyterhub.apiTokenFile: lacks the scope tokens, which makes the tokens with which people reach them, and tokens!group=ocm does not work for services (add it to the service’s role in load_roles)',
  ])
})

it('another base_url than the path that browsers see', async () => {
  const upstream = await serve(hubAnswers({ base: '/' }))
  expect(await found(upstream)).toEqual([
    'wrong jupyterhub.apiUrl: answers 404, and is no JupyterHub API (must be the hub’s address with its base_url, which is /jupyter/ as in publicUrl, and hub/api behind it)',
  ])
  expect(await found(upstream, { api: `${upstream}/hub/api` })).toEqual([
    'wrong jupyterhub.apiUrl: is of a hub with the base_url /, where publicUrl has /jupyter/ (must be the same)',
  ])
})

it('an API at an address of its own: the hub’s proxy is asked too', async () => {
  const hub = await serve(hubAnswers({}))
  const api = `${hub}/jupyter/hub/api`
  const elsewhere = await serve((_req, res) => void res.writeHead(404).end())
  expect(await found(await serve(hubAnswers({})), { api })).toContain('well  upstream: the same base_url there')
  expect(await found(elsewhere, { api })).toContain(
    'wrong upstream: answers 404 at hub/api (must be the hub’s proxy, with the base_url /jupyter/)',
  )
})

it.each([
  ['3.0.0', true],
  ['4.1.5', true],
  ['4.1.6', false],
  ['5.0.0', true],
  ['5.1.0', false],
  ['6.0.0b2', false],
])('a hub of version %s in which a service can make administrators is told: %s', async (version, told) => {
  const [first] = await found(await serve(hubAnswers({ version })))
  expect(first?.includes('CVE-2024-41942')).toBe(told)
})

it('something else that answers', async () => {
  expect(await found(await serve((_req, res) => void res.end('{"hello":"world"}')))).toEqual([
    expect.stringMatching(/^wrong jupyterhub\.apiUrl: answers 200, and is no JupyterHub API/),
  ])
})
