import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { freePort } from '../../src/demo/listen.ts'
import { expectNoSecrets } from './leaks.ts'
import { until } from './until.ts'

const ROOT = join(import.meta.dirname, '../..')
const NODE = join(ROOT, 'node_modules/.bin/node')
const START_SECONDS = 20

/** Where a gateway is reached; fixed before it starts, because its configuration says so. */
export interface Address {
  /** `http://apps.localhost:<port>` */
  readonly origin: string
  readonly host: string
  readonly port: number
}

/** The configuration but for what every test has the same. */
export interface GatewaySettings {
  readonly server?: Record<string, unknown>
  readonly store?: string
  readonly sessions?: Record<string, unknown>
  readonly audit?: Record<string, unknown>
  readonly ocmServers: readonly Record<string, unknown>[]
  readonly webapps: readonly Record<string, unknown>[]
}

export type SettingsAt = (address: Address) => GatewaySettings

/** One line of the log. */
export type LogEvent = Readonly<Record<string, unknown>> & { readonly event: string }

export type GatewayProcess = Awaited<ReturnType<typeof startGatewayProcess>>

/**
 * `ocm-gateway serve` as operators run it: a process of its own, from a configuration file in a folder of its own, on a
 * free port. All that it writes is kept, at the lowest log level, and searched for secrets when it stops.
 *
 * @param nodeOptions of this process, over those of every other
 */
export async function startGatewayProcess(settings: SettingsAt, { nodeOptions = '' }: { nodeOptions?: string } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-'))
  const file = join(folder, 'gateway.yaml')
  const port = await freePort()
  const address: Address = { port, host: `apps.localhost:${port}`, origin: `http://apps.localhost:${port}` }
  // JSON is YAML.
  const write = (next: SettingsAt) =>
    writeFileSync(file, JSON.stringify(documentOf(address, next(address)), undefined, 1))
  write(settings)
  let running = await serve(file, nodeOptions)

  const eventsNamed = (name: string) => eventsOf(running.output.stdout).filter(({ event }) => event === name)
  const signal = async (name: NodeJS.Signals) => {
    running.child.kill(name)
    const [code, by] = await running.exited
    expectNoSecrets(running.output.stdout + running.output.stderr, 'what the gateway wrote')
    return { code, by }
  }

  return {
    ...address,
    folder,
    configFile: file,
    get adminUrl() {
      return running.adminUrl
    },
    get pid() {
      return running.child.pid ?? 0
    },
    /** All that it wrote since its last start. */
    get output() {
      return running.output
    },
    /** Whether it still runs. */
    get alive() {
      return running.child.exitCode === null && running.child.signalCode === null
    },
    eventsNamed,
    /** Waits for a line in the log. */
    event: (name: string, test: (event: LogEvent) => boolean = () => true) =>
      until(`the log says ${name}`, () => eventsNamed(name).find(test)),
    /** SIGHUP with another configuration file; resolves when the log says what became of it. */
    async reload(next: SettingsAt | string): Promise<'config.reloaded' | 'config.refused'> {
      if (typeof next === 'string') writeFileSync(file, next)
      else write(next)
      const told = () => [...eventsNamed('config.reloaded'), ...eventsNamed('config.refused')]
      const before = told().length
      running.child.kill('SIGHUP')
      const event = await until('the configuration was reloaded or refused', () => told().length > before && told())
      return event.toSorted((a, b) => Number(b.time) - Number(a.time))[0]?.event as 'config.reloaded'
    },
    /** SIGTERM: must drain and exit with 0, and nothing it ever wrote may hold a secret. */
    async stop(): Promise<void> {
      const metrics = await fetch(`${running.adminUrl}/metrics`).then((res) => res.text())
      expectNoSecrets(metrics, 'the metrics')
      expect(await signal('SIGTERM'), running.output.stderr).toEqual({ code: 0, by: null })
      rmSync(folder, { recursive: true })
    },
    /** SIGTERM, and nothing else: for tests that look at the end itself. */
    terminate: () => signal('SIGTERM'),
    /** `kill -9`. */
    async kill(): Promise<void> {
      await signal('SIGKILL')
    },
    /** Starts again on the same folder, after `kill` or `terminate`. @param clockOff how many seconds its clock is ahead */
    async start({ clockOff = 0 } = {}): Promise<void> {
      running = await serve(file, nodeOptions, clockOff)
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

function documentOf({ origin, port }: Address, { server, store, ...rest }: GatewaySettings) {
  const own = { publicUrl: origin, listen: `127.0.0.1:${port}`, adminListen: '127.0.0.1:0', insecureLoopback: true }
  const signingKeyFile = './signing-key.json'
  return { server: { ...own, signingKeyFile, ...server }, store: store ?? 'sqlite:./gateway.db', ...rest }
}

/** As in a small container: what is no longer needed is collected soon, so that memory that grows is memory that is held. */
const SMALL_HEAP = '--max-semi-space-size=4 --max-old-space-size=256'
/** The sources are compiled once for all gateways that tests start, and not by each. */
const COMPILED = join(tmpdir(), 'ocm-gateway-compiled')

/** Spawns the command and waits for its `listening` line. */
async function serve(file: string, nodeOptions: string, clockOff = 0) {
  const clock = clockOff === 0 ? [] : ['--import', join(ROOT, 'test/chaos/wrong-clock.ts')]
  const args = [...clock, join(ROOT, 'src/cli.ts'), 'serve', '--config', file]
  const child = spawn(NODE, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      LOG_LEVEL: 'trace',
      NODE_OPTIONS: `${SMALL_HEAP} ${nodeOptions}`,
      NODE_COMPILE_CACHE: COMPILED,
      CLOCK_OFF_SECONDS: String(clockOff),
    },
  })
  const output = collect(child)
  const exited = once(child, 'close') as Promise<[code: number | null, signal: string | null]>
  const listening = await until(
    'the gateway listens',
    () => {
      if (child.exitCode !== null) throw new Error(`the gateway did not start: ${output.stderr}${output.stdout}`)
      return eventsOf(output.stdout).find(({ event }) => event === 'listening')
    },
    START_SECONDS,
  )
  return { child, output, exited, adminUrl: String(listening.adminUrl) }
}

function collect({ stdout, stderr }: ChildProcess) {
  const output = { stdout: '', stderr: '' }
  stdout?.setEncoding('utf8').on('data', (text) => (output.stdout += text))
  stderr?.setEncoding('utf8').on('data', (text) => (output.stderr += text))
  return output
}

/** Whole lines only: the last one may be half written. */
function eventsOf(stdout: string): LogEvent[] {
  return stdout
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogEvent)
}
