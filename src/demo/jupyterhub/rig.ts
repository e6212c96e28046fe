import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, realpath, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { HUB_CONFIG, type HubSettings, STOP_HUB } from './hub-config.ts'
import { installJupyterHub } from './install.ts'

export { installJupyterHub }

type Hub = ChildProcess & { readonly pid: number }

const START_SECONDS = 120
const POLITE_STOP_SECONDS = 20

interface StartOptions {
  /** The executables that `installJupyterHub` made. */
  readonly bin: string
  /** Holds the hub's configuration, database, log (`hub.log`) and the homes of its servers (`homes/<user>`). */
  readonly folder: string
  /** Path of the hub below its origin, such as `/jupyter/`. */
  readonly basePath: string
  readonly report: (line: string) => void
  /** An nbformat 4 notebook for the home of every new server, where the hub itself brings the files (`content: none`). */
  readonly notebook?: unknown
}

export interface RunningJupyterHub {
  /** Where the hub's proxy answers, with the base path. */
  readonly url: string
  readonly apiUrl: string
  /** A service token with the scopes `admin:users`, `servers` and `tokens`. */
  readonly token: string
  /** Ends the hub and starts it again at the same addresses, with the database and the homes that it has. */
  restart(): Promise<void>
  /** Resolves once the hub, its proxy, all servers and their kernels are gone. */
  stop(): Promise<void>
}

/** Starts a hub on free loopback ports and waits until its API answers through its proxy. */
export async function startJupyterHub(options: StartOptions): Promise<RunningJupyterHub> {
  const { bin, basePath, report, notebook } = options
  await mkdir(options.folder, { recursive: true, mode: 0o700 })
  const folder = await realpath(options.folder)
  const token = randomBytes(32).toString('hex')
  const addresses = await freeAddresses(basePath)
  await writeFolder(folder, { ...addresses, proxyCommand: proxyCommand(), bin, token, notebook })
  const apiUrl = `${addresses.url}hub/api`
  const start = async () => {
    const hub = await spawnHub(bin, folder)
    try {
      report(`JupyterHub ${await untilReady(apiUrl, hub)} answers at ${addresses.url}`)
      return hub
    } catch (cause) {
      await stopHub(bin, folder, hub)
      throw new Error(`JupyterHub did not start; its log ends with:\n${await logTail(folder)}`, { cause })
    }
  }
  let hub = await start()
  const stop = () => stopHub(bin, folder, hub)
  return {
    url: addresses.url,
    apiUrl,
    token,
    stop,
    async restart() {
      await stop()
      hub = await start()
    },
  }
}

async function freeAddresses(basePath: string) {
  const [proxy, hub, proxyApi] = await Promise.all([freePort(), freePort(), freePort()])
  return {
    url: `http://127.0.0.1:${proxy}${basePath}`,
    hubUrl: `http://127.0.0.1:${hub}`,
    proxyApiUrl: `http://127.0.0.1:${proxyApi}`,
  }
}

/** A port that was free a moment ago: the hub cannot be asked which one it took. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  await new Promise((closed) => server.close(closed))
  return port
}

function proxyCommand(): string[] {
  try {
    const manifest = createRequire(import.meta.url).resolve('configurable-http-proxy/package.json')
    return [process.execPath, join(dirname(manifest), 'bin', 'configurable-http-proxy')]
  } catch (cause) {
    throw new Error('configurable-http-proxy is missing; run `npm install` in a clone of this repository', { cause })
  }
}

async function writeFolder(folder: string, settings: HubSettings): Promise<void> {
  await writeFile(join(folder, 'rig.json'), JSON.stringify(settings), { mode: 0o600 })
  await writeFile(join(folder, 'jupyterhub_config.py'), HUB_CONFIG)
}

/**
 * Our own environment stays ours: the hub gets what it needs, no more. It has a process group of its own, so that
 * Ctrl-C in a terminal reaches it through `stop` only.
 */
async function spawnHub(bin: string, folder: string): Promise<Hub> {
  const log = await open(join(folder, 'hub.log'), 'a', 0o600)
  const env = { PATH: `${bin}:${process.env.PATH}`, HOME: folder, LANG: 'C.UTF-8', PYTHONNOUSERSITE: '1' }
  const hub = spawn(join(bin, 'jupyterhub'), ['--config', join(folder, 'jupyterhub_config.py')], {
    cwd: folder,
    env,
    detached: true,
    stdio: ['pipe', log.fd, log.fd],
  })
  try {
    await new Promise((spawned, failed) => hub.once('spawn', spawned).once('error', failed))
  } finally {
    await log.close()
  }
  return hub as Hub
}

/** The hub's version, once its API answers. */
async function untilReady(apiUrl: string, hub: Hub): Promise<string> {
  const deadline = Date.now() + START_SECONDS * 1000
  const ended = () => hub.exitCode ?? hub.signalCode
  while (ended() === null && Date.now() < deadline) {
    const answer = await fetch(apiUrl).catch(() => undefined)
    if (answer?.ok) return ((await answer.json()) as { version: string }).version
    await wait(200)
  }
  throw new Error(ended() === null ? `No answer within ${START_SECONDS} s.` : `The hub ended: ${ended()}.`)
}

async function stopHub(bin: string, folder: string, { pid }: Hub): Promise<void> {
  await promisify(execFile)(join(bin, 'python'), ['-c', STOP_HUB, folder, `${pid}`, `${POLITE_STOP_SECONDS}`])
}

const logTail = async (folder: string) => (await readFile(join(folder, 'hub.log'), 'utf8')).slice(-2000)
