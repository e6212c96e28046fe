import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { expect, it } from 'vitest'

const ROOMS = ['core', 'config', 'store', 'trust', 'shares', 'resources', 'sessions', 'apps', 'proxy', 'http', 'admin']
/** The composition root and its kin see all. */
const ROOFS = ['gateway.ts', 'cli.ts', 'check.ts', 'check-online.ts', 'operate.ts', 'why.ts', 'workers', 'demo']

/** One library, one home. */
const HOMES: Record<string, RegExp> = {
  jose: /^(trust|demo)\//,
  express: /^(http|admin|demo)\//,
  helmet: /^(http|admin|demo)\//,
  undici: /^(core\/outbound|proxy\/forward|apps\/jupyterhub\/[\w-]+)\.ts$/,
  '@opentelemetry/api': /^admin\/open-telemetry\.ts$/,
  '@opentelemetry/core': /^admin\/open-telemetry\.ts$/,
  '@opentelemetry/exporter-trace-otlp-proto': /^admin\/open-telemetry\.ts$/,
  '@opentelemetry/resources': /^admin\/open-telemetry\.ts$/,
  '@opentelemetry/sdk-trace': /^admin\/open-telemetry\.ts$/,
  pino: /^(core\/events|gateway|workers\/\w+)\.ts$/,
  'prom-client': /^admin\//,
  'structured-headers': /^trust\//,
  'fast-xml-parser': /^apps\/wopi\/discovery\.ts$/,
  webdav: /^resources\//,
  yaml: /^config\//,
  ioredis: /^store\/redis/,
}

const top = (file: string) => file.split('/')[0] ?? ''
const sources = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
const imports = sources.flatMap((file) => {
  const text = readFileSync(posix.join('src', file), 'utf8')
  return [...text.matchAll(/(?:from|import\()\s*'([^']+)'/g)].map(([, to = '']) => ({ file, to }))
})
const isRoof = (file: string) => ROOFS.includes(top(file))

it('every folder of src is a room of the house', () => {
  expect(sources.map(top).filter((name) => !ROOMS.includes(name) && !ROOFS.includes(name))).toEqual([])
})

it('imports flow only from later rooms to earlier ones', () => {
  const wrong = imports
    .filter(({ file, to }) => to.startsWith('.') && !isRoof(file))
    .map(({ file, to }) => ({ file, to: posix.join(posix.dirname(file), to) }))
    .filter(({ file, to }) => isRoof(to) || ROOMS.indexOf(top(to)) > ROOMS.indexOf(top(file)))
  expect(wrong).toEqual([])
})

it('sibling app kinds do not import each other', () => {
  const kind = (file: string) => /^apps\/([\w-]+)\//.exec(file)?.[1]
  const wrong = imports
    .filter(({ file, to }) => to.startsWith('.') && kind(file) !== undefined)
    .map(({ file, to }) => ({ file, to: posix.join(posix.dirname(file), to) }))
    .filter(({ file, to }) => kind(to) !== undefined && kind(to) !== kind(file))
  expect(wrong).toEqual([])
})

it('each library is used only where it lives', () => {
  const wrong = imports.filter(({ file, to }) => Object.hasOwn(HOMES, to) && !HOMES[to]?.test(file))
  expect(wrong).toEqual([])
})

it('tracing is loaded when it is asked for, and not before', () => {
  const loaders = sources.filter((file) => /open-telemetry\.ts'/.test(readFileSync(posix.join('src', file), 'utf8')))
  expect(loaders).toEqual(['cli.ts'])
  expect(readFileSync('src/cli.ts', 'utf8')).toContain("await import('./admin/open-telemetry.ts')")
})

it('what several workers need is loaded when there are several, and not before', () => {
  const loaders = imports.filter(({ file, to }) => top(file) !== 'workers' && /\/workers\/|^node:cluster$/.test(to))
  const types = /^import type .* from '\.\/workers\/worker\.ts'$/m
  expect(loaders.map(({ file }) => file)).toEqual(['cli.ts', 'cli.ts', 'cli.ts'])
  const text = readFileSync('src/cli.ts', 'utf8')
  expect(text).toMatch(types)
  for (const name of ['primary', 'worker']) expect(text).toContain(`await import('./workers/${name}.ts')`)
})

it('only the command line reads the process', () => {
  const readers = sources.filter((file) =>
    /\bprocess\.(env|argv|exit|on|stdout|stderr)\b/.test(readFileSync(posix.join('src', file), 'utf8')),
  )
  expect(readers.filter((file) => file !== 'cli.ts' && top(file) !== 'demo')).toEqual([])
})
