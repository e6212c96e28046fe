#!/usr/bin/env node
import { text } from 'node:stream/consumers'
import { inspect, parseArgs } from 'node:util'
import { appKinds } from './apps/registry.ts'
import { checkFiles } from './check.ts'
import { configJsonSchema } from './config/json-schema.ts'
import { loadConfig, type Problem } from './config/load.ts'
import type { GatewayConfig } from './config/schema.ts'
import { createLog } from './core/events.ts'
import { systemClock } from './core/time.ts'
import { startGateway } from './gateway.ts'
import { generateSigningKey } from './trust/signing-key.ts'
import { explain } from './why.ts'

const USAGE = `ocm-gateway serve --config FILE        run the gateway
ocm-gateway check --config FILE        validate the configuration and the files it names
ocm-gateway why --config FILE < TOKEN  explain what the gateway makes of a credential
ocm-gateway keys generate              print a new private signing key (JWK)
ocm-gateway schema                     print the JSON Schema of the configuration
ocm-gateway demo [--app jupyterhub]    two clouds, this gateway and an app, on this machine
`

const print = (text: string) => void process.stdout.write(`${text}\n`)
const complain = (text: string) => void process.stderr.write(`${text}\n`)
const line = ({ path, message }: Problem) => `${path}: ${message}`

/** The configuration, or its problems; warnings go to standard error. */
function load(file: string): { config: GatewayConfig } | { problems: readonly Problem[] } {
  const loaded = loadConfig(file, { kinds: appKinds, env: process.env })
  if ('warnings' in loaded) for (const warning of loaded.warnings) complain(`warning: ${line(warning)}`)
  return loaded
}

async function serve(file: string): Promise<number> {
  const loaded = load(file)
  if ('problems' in loaded) {
    for (const problem of loaded.problems) complain(line(problem))
    return 1
  }
  const log = createLog({ level: process.env.LOG_LEVEL ?? 'info' })
  const gateway = await startGateway(loaded.config, { log })
  process.on('SIGHUP', () => {
    const next = load(file)
    if ('problems' in next) return gateway.events.configRefused({ file, problems: next.problems.map(line) })
    gateway.reload(next.config)
    gateway.events.configReloaded({ file })
  })
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve)
  })
  gateway.events.draining({ signal })
  await gateway.close()
  gateway.events.stopped({})
  return 0
}

async function check(file: string): Promise<number> {
  const loaded = load(file)
  const problems = 'problems' in loaded ? loaded.problems : await checkFiles(loaded.config)
  for (const problem of problems) print(line(problem))
  return problems.length === 0 ? 0 : 1
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
      help: { type: 'boolean', short: 'h' },
    },
  })
  const command = positionals.join(' ')
  if (values.help) {
    print(USAGE.trimEnd())
    return 0
  }
  switch (command) {
    case 'serve':
    case 'check':
    case 'why':
      if (values.config === undefined) return usage(`${command} needs --config FILE`)
      return { serve, check, why }[command](values.config)
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
