#!/usr/bin/env node
import { availableParallelism } from 'node:os'
import { text } from 'node:stream/consumers'
import { inspect, parseArgs } from 'node:util'
import { appKinds } from './apps/registry.ts'
import { checkFiles } from './check.ts'
import { checkOnline } from './check-online.ts'
import { configJsonSchema } from './config/json-schema.ts'
import { type LoadedConfig, loadConfig, type Problem } from './config/load.ts'
import { type ReadFile, readFromDisk } from './config/read.ts'
import type { GatewayConfig } from './config/schema.ts'
import { createFileWatch } from './config/watch.ts'
import { createLog, type Events } from './core/events.ts'
import type { Port } from './core/line.ts'
import { systemClock } from './core/time.ts'
import type { Tracing } from './core/tracing.ts'
import { startGateway } from './gateway.ts'
import { inWords, operate, operations } from './operate.ts'
import { generateSigningKey } from './trust/signing-key.ts'
import { explain } from './why.ts'
import type { Files } from './workers/worker.ts'

const USAGE = `ocm-gateway serve --config FILE        run the gateway
ocm-gateway check --config FILE        validate the configuration and the files it names;
                                       --online: also try the servers, hubs and apps it names
ocm-gateway why --config FILE < TOKEN  explain what the gateway makes of a credential
ocm-gateway shares list --config FILE  the shares that were announced; --domain D, --limit N, --json
ocm-gateway shares show DOMAIN ID      one of them, and its sessions
ocm-gateway shares revoke DOMAIN ID    end it by hand: its sessions too
ocm-gateway sessions list              the open sessions; --domain D, --limit N, --json
ocm-gateway sessions end ID            end one of them
ocm-gateway store backup COPY          copy the SQLite store to a new file, also while a gateway runs
ocm-gateway keys generate              print a new private signing key (JWK)
ocm-gateway schema                     print the JSON Schema of the configuration
ocm-gateway demo [--app jupyterhub]    two clouds, this gateway and an app, on this machine
`

const print = (text: string) => void process.stdout.write(`${text}\n`)
const complain = (text: string) => void process.stderr.write(`${text}\n`)
const line = ({ path, message }: Problem) => `${path}: ${message}`

/** The configuration and all that was read for it, or its problems; warnings go to standard error. */
function load(file: string, reads: (file: string) => void = () => {}): LoadedConfig & { files: Files } {
  const files: Record<string, string> = {}
  const readFile = (path: string) => {
    files[path] = readFromDisk(path)
    return files[path]
  }
  const loaded = loadConfig(file, { kinds: appKinds, env: process.env, reads, readFile })
  if ('warnings' in loaded) for (const warning of loaded.warnings) complain(`warning: ${line(warning)}`)
  return { ...loaded, files }
}

async function serve(file: string): Promise<number> {
  let watching = false
  using watch = createFileWatch(() => watching && reload())
  const loaded = watch.around((reads) => load(file, reads))
  if ('problems' in loaded) {
    for (const problem of loaded.problems) complain(line(problem))
    return 1
  }
  const gateway = await start(file, loaded)
  const reloadOnce = async () => {
    const next = watch.around((reads) => load(file, reads))
    const problems =
      'problems' in next ? next.problems.map(line) : await attempt(() => gateway.reload(next.config, next.files))
    if (problems.length > 0) return gateway.events.configRefused({ file, problems })
    if ('config' in next) watching = next.config.server.watchFiles
    gateway.events.configReloaded({ file })
  }
  let reloading = Promise.resolve()
  const reload = () => {
    reloading = reloading.then(reloadOnce)
  }
  process.on('SIGHUP', reload)
  watching = loaded.config.server.watchFiles
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve)
  })
  watching = false
  gateway.events.draining({ signal })
  await gateway.close()
  gateway.events.stopped({})
  return 0
}

interface Running {
  readonly events: Events
  reload(config: GatewayConfig, files: Files): Promise<void> | void
  close(): Promise<void>
}

/** One process that serves, or one that has others serve. */
async function start(file: string, { config, files }: { config: GatewayConfig; files: Files }): Promise<Running> {
  const log = createLog({ level: process.env.LOG_LEVEL ?? 'info' })
  const workers = config.server.workers === 'auto' ? availableParallelism() : config.server.workers
  if (workers > 1) {
    const { startPrimary } = await import('./workers/primary.ts')
    return startPrimary(config, { log, workers, files, args: ['worker', '--config', file] })
  }
  const tracing = await startTracing()
  const gateway = await startGateway(config, { log, tracing })
  return {
    ...gateway,
    async close() {
      await gateway.close()
      await endTracing(tracing)
    },
  }
}

/** What `serve` starts several of; it does what that process says, and ends with it. */
async function worker(file: string): Promise<number> {
  if (process.send === undefined) return usage('worker is what serve starts by itself, as server.workers says')
  // Signals of a terminal reach the whole group; what to do about them is the other process’s business.
  for (const name of ['SIGHUP', 'SIGTERM', 'SIGINT'] as const) process.on(name, () => {})
  const tracing = await startTracing()
  const { runWorker } = await import('./workers/worker.ts')
  const primary: Port = {
    send: (message) => void process.send?.(message, undefined, undefined, () => {}),
    receive: (listener) => void process.on('message', listener),
  }
  const log = createLog({ level: process.env.LOG_LEVEL ?? 'info' })
  await runWorker({ primary, log, tracing, load: (readFile) => loaded(file, readFile) })
  await endTracing(tracing)
  process.disconnect()
  return 0
}

/** @throws {Error} with all that is wrong */
function loaded(file: string, readFile: ReadFile): GatewayConfig {
  const found = loadConfig(file, { kinds: appKinds, env: process.env, readFile })
  if ('problems' in found) throw new Error(found.problems.map(line).join('; '))
  return found.config
}

/** OpenTelemetry when its variables ask for it; else nothing of it is even loaded. */
async function startTracing(): Promise<Tracing | undefined> {
  const { OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT } =
    process.env
  const endpoint = OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? OTEL_EXPORTER_OTLP_ENDPOINT
  const exporter = OTEL_TRACES_EXPORTER ?? (endpoint === undefined ? 'none' : 'otlp')
  if (exporter === 'none' || OTEL_SDK_DISABLED === 'true') return undefined
  if (exporter !== 'otlp') throw new Error(`OTEL_TRACES_EXPORTER is ${exporter} (must be otlp or none)`)
  const { startOpenTelemetry } = await import('./admin/open-telemetry.ts')
  return startOpenTelemetry(process.env)
}

async function endTracing(tracing: Tracing | undefined): Promise<void> {
  await tracing?.close().catch((error: Error) => complain(`traces: ${error.message}`))
}

async function attempt(work: () => Promise<void> | void): Promise<string[]> {
  try {
    await work()
    return []
  } catch (error) {
    return [(error as Error).message]
  }
}

async function check(file: string, { online }: { online: boolean }): Promise<number> {
  const loaded = load(file)
  const problems = 'problems' in loaded ? loaded.problems : await checkFiles(loaded.config)
  for (const problem of problems) print(line(problem))
  if ('problems' in loaded || problems.length > 0) return 1
  const found = online ? await checkOnline(loaded.config, systemClock) : []
  for (const { ok, path, message } of found) print(line({ path, message: ok ? `ok, ${message}` : message }))
  return found.every(({ ok }) => ok) ? 0 : 1
}

async function why(file: string): Promise<number> {
  const loaded = load(file)
  if ('problems' in loaded) {
    for (const problem of loaded.problems) complain(line(problem))
    return 1
  }
  const token = (await text(process.stdin)).trim()
  if (token === '') return usage('why reads the credential from standard input')
  const { lines, accepted } = await explain(loaded.config, token, systemClock)
  for (const each of lines) print(each)
  return accepted ? 0 : 1
}

async function runOperation(
  name: string,
  args: readonly string[],
  { config: file, domain, limit, json }: { config?: string; domain?: string; limit: string; json: boolean },
): Promise<number> {
  const operation = operations[name]
  if (operation === undefined || file === undefined) return usage(`${name} needs --config FILE`)
  if (!/^[1-9]\d{0,8}$/.test(limit)) return usage(`--limit is ${limit} (must be a number such as 1000)`)
  const loaded = load(file)
  if ('problems' in loaded) {
    for (const problem of loaded.problems) complain(line(problem))
    return 1
  }
  const log = createLog({ level: 'info', destination: process.stderr })
  const options = { config: loaded.config, log, now: systemClock, domain, limit: Number(limit) }
  const rows = await operate(operation, args, options)
  if (json) print(JSON.stringify(rows, undefined, 2))
  else if (rows.length > 0) print(inWords(rows))
  if (rows.length === Number(limit)) complain(`only ${limit} are shown; --limit shows more`)
  return 0
}

async function demo(app: string): Promise<number> {
  const { runDemo } = await import('./demo/demo.ts')
  if (app !== 'notes' && app !== 'jupyterhub') return usage(`--app is ${app} (must be notes or jupyterhub)`)
  const running = await runDemo({ app, print })
  await new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve)
  })
  await running.close()
  return 0
}

function usage(problem: string): number {
  complain(`${problem}\n\n${USAGE}`)
  return 2
}

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      config: { type: 'string' },
      app: { type: 'string', default: 'notes' },
      online: { type: 'boolean', default: false },
      domain: { type: 'string' },
      limit: { type: 'string', default: '1000' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const command = positionals.join(' ')
  if (values.help) {
    print(USAGE.trimEnd())
    return 0
  }
  const [name, given] = [positionals.slice(0, 2).join(' '), positionals.slice(2)]
  if (Object.hasOwn(operations, name)) return runOperation(name, given, values)
  switch (command) {
    case 'serve':
    case 'check':
    case 'why':
    case 'worker':
      if (values.config === undefined) return usage(`${command} needs --config FILE`)
      return { serve, check, why, worker }[command](values.config, values)
    case 'keys generate':
      print(generateSigningKey().trimEnd())
      return 0
    case 'schema':
      print(JSON.stringify(configJsonSchema(appKinds), undefined, 2))
      return 0
    case 'demo':
      return demo(values.app)
    default:
      return usage(command === '' ? 'a command is missing' : `there is no command ${command}`)
  }
}

process.on('unhandledRejection', (error) => complain(`unhandled: ${inspect(error)}`))

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  complain((error as Error).message)
  process.exitCode = 1
}
