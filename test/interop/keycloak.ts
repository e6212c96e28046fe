import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../../src/demo/listen.ts'
import { until } from '../flow/until.ts'
import { bring, CACHE, type Peer } from './peers.ts'

export const KEYCLOAK = '26.7.3'

const REALM = 'ocm'
const START_SECONDS = 240
const ADMIN = { username: 'admin', password: 'only-on-loopback' }
const PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1'

/** A client, a user or another part of a realm, in the words of Keycloak’s administration API. */
type Representation = Readonly<Record<string, unknown>>

interface Keycloak extends Peer {
  readonly authority: string
  /** `iss` of all that this realm issues: it has a path. */
  readonly issuer: string
  readonly introspectionUrl: string
  /** An access token for a user, by the password grant. */
  tokenFor(user: { username: string; password: string }, client: { id: string; secret: string }): Promise<string>
}

/**
 * A Keycloak server on loopback with one realm; its database lives in memory.
 *
 * @throws {PeerMissing} without Java or Maven, or when Maven Central cannot be reached
 */
export async function startKeycloak(realm: { clients: Representation[]; users: Representation[] }): Promise<Keycloak> {
  const home = await installKeycloak()
  const port = await freePort()
  const authority = `localhost:${port}`
  const issuer = `http://${authority}/realms/${REALM}`
  const stop = await launch(home, port)
  await createRealm(`http://${authority}`, realm).catch(async (error) => {
    await stop()
    throw error
  })
  return {
    authority,
    issuer,
    introspectionUrl: `${issuer}/protocol/openid-connect/token/introspect`,
    tokenFor: (user, { id, secret }) =>
      tokenFrom(issuer, { grant_type: 'password', ...user, client_id: id, client_secret: secret }),
    stop,
  }
}

/** Downloads the server distribution and builds it for our options, once. @returns its folder */
async function installKeycloak(): Promise<string> {
  const home = join(CACHE, `keycloak-${KEYCLOAK}`)
  const built = join(home, 'built')
  if (existsSync(built)) return home
  await bring('java', ['-version'])
  rmSync(home, { recursive: true, force: true })
  mkdirSync(CACHE, { recursive: true })
  const artifact = `org.keycloak:keycloak-quarkus-dist:${KEYCLOAK}:tar.gz`
  await bring('mvn', [`${PLUGIN}:copy`, '-q', '-B', `-Dartifact=${artifact}`, `-DoutputDirectory=${CACHE}`])
  const archive = join(CACHE, `keycloak-quarkus-dist-${KEYCLOAK}.tar.gz`)
  await bring('tar', ['-xzf', archive, '-C', CACHE])
  rmSync(archive)
  await bring(join(home, 'bin/kc.sh'), ['build', '--db=dev-mem', '--cache=local'])
  writeFileSync(built, KEYCLOAK)
  return home
}

/** @returns how to stop it */
async function launch(home: string, port: number): Promise<() => Promise<void>> {
  const base = `http://localhost:${port}`
  const options = ['--http-enabled=true', '--http-host=localhost', `--http-port=${port}`, `--hostname=${base}`]
  const child = spawn(join(home, 'bin/kc.sh'), ['start', '--optimized', ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      KC_BOOTSTRAP_ADMIN_USERNAME: ADMIN.username,
      KC_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
      JAVA_OPTS_KC_HEAP: '-Xms128m -Xmx768m',
    },
  })
  const exited = once(child, 'close')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const stop = async () => {
    if (child.exitCode === null) child.kill('SIGTERM')
    await exited
  }
  const answers = async () => {
    if (child.exitCode !== null) throw new Error(`Keycloak did not start:\n${output.slice(-3000)}`)
    return fetch(`${base}/realms/master`).then(
      ({ ok }) => ok,
      () => false,
    )
  }
  await until('Keycloak answers', answers, START_SECONDS).catch(async (error) => {
    await stop()
    throw error
  })
  return stop
}

async function createRealm(base: string, { clients, users }: { clients: Representation[]; users: Representation[] }) {
  const token = await tokenFrom(`${base}/realms/master`, { grant_type: 'password', client_id: 'admin-cli', ...ADMIN })
  const response = await fetch(`${base}/admin/realms`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ realm: REALM, enabled: true, sslRequired: 'none', clients, users }),
  })
  if (response.status !== 201) throw new Error(`no realm: ${response.status} ${await response.text()}`)
}

async function tokenFrom(issuer: string, fields: Readonly<Record<string, string>>): Promise<string> {
  const response = await fetch(`${issuer}/protocol/openid-connect/token`, {
    method: 'POST',
    body: new URLSearchParams(fields),
  })
  const { access_token } = (await response.json()) as { access_token?: string }
  if (access_token === undefined) throw new Error(`no token of ${issuer}: ${response.status}`)
  return access_token
}
