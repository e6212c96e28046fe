import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../src/demo/listen.ts'
import { until } from '../flow/until.ts'
import { bring, CACHE, type Peer } from './peers.ts'

export const OPENCLOUDMESH_GO = 'v1.2.2'

const COMMAND = 'github.com/MahdiBaghbani/opencloudmesh-go/cmd/opencloudmesh-go'
const START_SECONDS = 30
const ADMIN = { username: 'admin', password: 'only-on-loopback' }

interface OpenCloudMeshGo extends Peer {
  /** `localhost:<port>`, as it calls itself. */
  readonly authority: string
  readonly url: string
  /** Its only user. */
  readonly user: string
  /** Makes it share a file with somebody elsewhere. @returns the status and text of its own answer */
  share(shareWith: string, receiver: string): Promise<{ status: number; text: string }>
}

/**
 * opencloudmesh-go on loopback, in its `dev` mode: plain http, peers on loopback allowed, signatures demanded as ever.
 *
 * @throws {PeerMissing} without Go, or when the module cannot be downloaded and built
 */
export async function startOpenCloudMeshGo(): Promise<OpenCloudMeshGo> {
  const command = await installOpenCloudMeshGo()
  const folder = mkdtempSync(join(tmpdir(), 'opencloudmesh-go-'))
  const file = join(folder, 'shared.txt')
  writeFileSync(file, 'shared')
  const port = await freePort()
  const authority = `localhost:${port}`
  const url = `http://${authority}`
  const stop = await launch(command, port, folder)

  return {
    authority,
    url,
    user: `${ADMIN.username}@${authority}`,
    async share(shareWith, receiverDomain) {
      const { token } = JSON.parse((await post(`${url}/api/auth/login`, ADMIN)).text) as { token: string }
      const wish = { receiverDomain, shareWith, localPath: file, permissions: ['read'] }
      return post(`${url}/api/shares/outgoing`, wish, token)
    },
    stop,
  }
}

/** @returns the executable */
async function installOpenCloudMeshGo(): Promise<string> {
  const bin = join(CACHE, `opencloudmesh-go-${OPENCLOUDMESH_GO}`)
  const command = join(bin, 'opencloudmesh-go')
  if (existsSync(command)) return command
  mkdirSync(bin, { recursive: true })
  await bring('go', ['install', `${COMMAND}@${OPENCLOUDMESH_GO}`], { GOBIN: bin, CGO_ENABLED: '0' })
  return command
}

/** @returns how to stop it */
async function launch(command: string, port: number, folder: string): Promise<() => Promise<void>> {
  const origin = `http://localhost:${port}`
  const options = ['-mode', 'dev', '-listen', `127.0.0.1:${port}`, '-public-origin', origin]
  const admin = ['-admin-username', ADMIN.username, '-admin-password', ADMIN.password]
  const child = spawn(command, [...options, ...admin], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = once(child, 'close')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const stop = async () => {
    if (child.exitCode === null) child.kill('SIGTERM')
    await exited
    rmSync(folder, { recursive: true })
  }
  const answers = async () => {
    if (child.exitCode !== null) throw new Error(`opencloudmesh-go did not start:\n${output.slice(-3000)}`)
    return fetch(`${origin}/api/healthz`).then(
      ({ ok }) => ok,
      () => false,
    )
  }
  await until('opencloudmesh-go answers', answers, START_SECONDS).catch(async (error) => {
    await stop()
    throw error
  })
  return stop
}

async function post(url: string, content: unknown, token?: string): Promise<{ status: number; text: string }> {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(content) })
  return { status: response.status, text: await response.text() }
}
