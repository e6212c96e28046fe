import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { Secret } from '../../src/core/secret.ts'
import { freePort } from '../../src/demo/listen.ts'
import type { RedisAddress } from '../../src/store/redis-connection.ts'
import { until } from '../flow/until.ts'

const PASSWORD = 'a password: with @ and %'

export type RedisServer = Awaited<ReturnType<typeof startRedis>>

/** @throws {Error} when there is no redis-server, and none can be installed */
function needRedis(): void {
  if (spawnSync('redis-server', ['--version']).status === 0) return
  if (process.getuid?.() !== 0) throw new Error('redis-server is missing (install with: apt-get install redis-server)')
  execFileSync('apt-get', ['update', '-qq'], { stdio: 'ignore' })
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'redis-server'], { stdio: 'ignore' })
}

/** A real Redis on a free port, in a folder of its own, as operators are told to run it. */
export async function startRedis(more: readonly string[] = []) {
  needRedis()
  const folder = mkdtempSync(join(tmpdir(), 'redis-'))
  const port = await freePort()
  let child = await launch(port, folder, more)
  const admin = new Redis({ port, host: '127.0.0.1', password: PASSWORD, lazyConnect: true })
  admin.on('error', () => {})
  await admin.connect()

  const exited = async () => {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }
  return {
    port,
    password: PASSWORD,
    url: `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/0`,
    /** For the test itself, beside the stores. */
    admin,
    address: (db = 0): RedisAddress => addressOf([port], { db }),
    get pid() {
      return child.pid ?? 0
    },
    pause: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    async kill(): Promise<void> {
      child.kill('SIGKILL')
      await exited()
    },
    /** Again on the same port, with what it wrote to disk. */
    async restart(): Promise<void> {
      child = await launch(port, folder, more)
    },
    /** How often each command was run, by its name. */
    async commands(): Promise<Record<string, number>> {
      const info = await admin.info('commandstats')
      const counts = [...info.matchAll(/^cmdstat_([\w|]+):calls=(\d+)/gm)]
      return Object.fromEntries(counts.map(([, name, calls]) => [name, Number(calls)]))
    },
    async stop(): Promise<void> {
      admin.disconnect()
      child.kill('SIGCONT')
      child.kill('SIGKILL')
      await exited()
      rmSync(folder, { recursive: true })
    },
  }
}

/** @param master what Sentinels at those ports call the server */
export function addressOf(ports: readonly number[], { db = 0, master }: { db?: number; master?: string } = {}) {
  const hosts = ports.map((port) => ({ host: '127.0.0.1', port }))
  return { tls: false, hosts, master, db, username: undefined, password: new Secret(PASSWORD) } satisfies RedisAddress
}

/** A Sentinel that watches one server and decides alone. */
export async function startSentinel(master: number) {
  const folder = mkdtempSync(join(tmpdir(), 'sentinel-'))
  const port = await freePort()
  const file = join(folder, 'sentinel.conf')
  const settings = [
    `port ${port}`,
    `dir ${folder}`,
    'bind 127.0.0.1',
    `requirepass ${JSON.stringify(PASSWORD)}`,
    `sentinel monitor main 127.0.0.1 ${master} 1`,
    `sentinel auth-pass main ${JSON.stringify(PASSWORD)}`,
    'sentinel down-after-milliseconds main 1000',
    'sentinel failover-timeout main 5000',
  ]
  writeFileSync(file, `${settings.join('\n')}\n`)
  const child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' })
  const admin = new Redis({ port, host: '127.0.0.1', password: PASSWORD, retryStrategy: () => 50 })
  admin.on('error', () => {})
  const knownReplicas = async () => ((await admin.call('SENTINEL', 'REPLICAS', 'main')) as unknown[]).length
  await until('the Sentinel knows a replica', async () => (await knownReplicas()) > 0, 20)
  return {
    port,
    /** Says from now on that another server is the master, whatever the two know of each other. */
    async watch(other: number): Promise<void> {
      await admin.call('SENTINEL', 'REMOVE', 'main')
      await admin.call('SENTINEL', 'MONITOR', 'main', '127.0.0.1', other, 1)
      await admin.call('SENTINEL', 'SET', 'main', 'auth-pass', PASSWORD)
    },
    async stop() {
      admin.disconnect()
      child.kill('SIGKILL')
      await once(child, 'exit')
      rmSync(folder, { recursive: true })
    },
  }
}

async function launch(port: number, folder: string, more: readonly string[]): Promise<ChildProcess> {
  const settings = {
    port,
    dir: folder,
    bind: '127.0.0.1',
    requirepass: PASSWORD,
    masterauth: PASSWORD,
    appendonly: 'yes',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])
  const child = spawn('redis-server', [...args, ...more], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (text) => (said += text))
  await until('Redis is ready', () => {
    if (child.exitCode !== null) throw new Error(`redis-server did not start: ${said}`)
    return said.includes('Ready to accept connections')
  })
  return child
}

/** A way to a port of this machine that can be blocked: what is sent is neither lost nor delivered, as in a broken network. */
export async function openPassage(port: number) {
  const sockets = new Set<Socket>()
  let blocked = false
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('data', (chunk) => to.write(chunk))
      from
        .on('error', () => {})
        .once('close', () => {
          sockets.delete(from)
          if (!blocked) to.destroy()
        })
      if (blocked) from.pause()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    block() {
      blocked = true
      for (const socket of sockets) socket.pause()
    },
    unblock() {
      blocked = false
      for (const socket of sockets) socket.resume()
    },
    /** Every connection ends at once; new ones are made. */
    cut() {
      for (const socket of sockets) socket.destroy()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
