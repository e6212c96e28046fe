import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const CACHE = resolve(import.meta.dirname, '../../.cache/bench-tools')

/** A program that is compiled from source. */
interface GoProgram {
  readonly name: string
  readonly module: string
  readonly version: string
  /** Of the module’s packages, the one with `main`. */
  readonly package: string
}

const CADDY: GoProgram = {
  name: 'caddy',
  module: 'github.com/caddyserver/caddy/v2',
  version: 'v2.11.9',
  package: 'github.com/caddyserver/caddy/v2/cmd/caddy',
}
/** The newest that can be had through proxy.golang.org with its checksum. */
const OAUTH2_PROXY: GoProgram = {
  name: 'oauth2-proxy',
  module: 'github.com/oauth2-proxy/oauth2-proxy/v7',
  version: 'v7.8.1',
  package: 'github.com/oauth2-proxy/oauth2-proxy/v7',
}
/** Debian’s, with what Debian links it to and a machine may not have. */
const HAPROXY = ['haproxy', 'libopentracing-c-wrapper0', 'libopentracing1']
const DEBIAN_LIBRARIES = `usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`

/** A program, and what must be in its environment. */
export interface Tool {
  readonly command: string
  readonly env: Readonly<Record<string, string>>
  readonly version: string
}

const run = promisify(execFile)

export const installCaddy = () => goTool(CADDY)
export const installOauth2Proxy = () => goTool(OAUTH2_PROXY)

/**
 * Compiles a program for our cache: minutes the first time, at once after that. In a module of its own that requires it,
 * which `go install` would do without, if it did not ask for the list of all versions too.
 */
async function goTool({ name, module, version, package: main }: GoProgram): Promise<Tool> {
  const folder = await kept(`${name}-${version}`, async (making) => {
    await writeFile(join(making, 'go.mod'), `module bench\n\ngo 1.24\n\nrequire ${module} ${version}\n`)
    const building = run('go', ['build', '-mod=mod', '-o', name, main], { cwd: making, maxBuffer: 2 ** 26 })
    await building.catch((error) => {
      throw error.code === 'ENOENT' ? new Error('it is compiled with Go, which is not installed') : error
    })
  })
  return { command: join(folder, name), env: GO_ENV, version }
}

/** One thread for the work, as Node has. */
const GO_ENV = { GOMAXPROCS: '1' }

/** Unpacked and not installed. */
export async function installHaproxy(): Promise<Tool> {
  const folder = await kept('haproxy', async (making) => {
    const download = () => run('apt-get', ['download', ...HAPROXY], { cwd: making })
    await download().catch(() => run('apt-get', ['update', '-qq']).then(download))
    for (const archive of (await readdir(making)).filter((file) => file.endsWith('.deb')))
      await run('dpkg-deb', ['--extract', archive, '.'], { cwd: making })
  })
  const command = join(folder, 'usr/sbin/haproxy')
  const env = { LD_LIBRARY_PATH: join(folder, DEBIAN_LIBRARIES) }
  const { stdout } = await run(command, ['-v'], { env: { ...process.env, ...env } })
  return { command, env, version: /version ([\d.]+)/.exec(stdout)?.[1] ?? 'unknown' }
}

/** Debian’s, where it is installed. @throws {Error} that says how to install it */
export async function findNginx(): Promise<Tool> {
  const command = '/usr/sbin/nginx'
  if (!existsSync(command)) throw new Error(`there is no ${command}; install it with: apt-get install nginx`)
  const { stderr } = await run(command, ['-v'])
  return { command, env: {}, version: /nginx\/([\d.]+)/.exec(stderr)?.[1] ?? 'unknown' }
}

export async function redisVersion(): Promise<string> {
  const { stdout } = await run('redis-server', ['--version'])
  return / v=([\d.]+)/.exec(stdout)?.[1] ?? 'unknown'
}

/** What is made once stays for the next run; half-made folders are thrown away. @returns the folder */
async function kept(name: string, make: (folder: string) => Promise<unknown>): Promise<string> {
  const folder = join(CACHE, name)
  const done = join(folder, '.done')
  if (existsSync(done)) return folder
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  await make(folder)
  await writeFile(done, '')
  return folder
}
