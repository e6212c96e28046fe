import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { generateSigningKey } from '../../src/trust/signing-key.ts'
import { type RedisServer, startRedis } from '../contract/redis-server.ts'
import { until } from '../flow/until.ts'
import { configurationOf, INSTALLATIONS, type Manifest, only, podOf, render } from './rendering.ts'
import { helm, must, ROOT, run } from './tools.ts'

const CLI = join(ROOT, 'src/cli.ts')

/** What the Secrets of an installation hold, by the names of their keys; they are the operator's, not the chart's. */
function secretText(key: string, folder: string, redisPassword: string): string {
  if (key === 'tls.crt' || key === 'tls.key') return certificate(folder)[key]
  if (/^(current|previous|signing-key)\.json$/.test(key)) return generateSigningKey()
  return key.endsWith('password') ? redisPassword : 'x'.repeat(40)
}

/** A certificate and its key: one pair for each folder. */
function certificate(folder: string): Record<'tls.crt' | 'tls.key', string> {
  const [crt, key] = [join(folder, 'own.crt'), join(folder, 'own.key')] as const
  const subject = ['-subj', '/CN=apps.example.org', '-days', '2', '-noenc', '-newkey', 'rsa:2048']
  if (!existsSync(crt)) {
    execFileSync('openssl', ['req', '-x509', ...subject, '-keyout', key, '-out', crt], { stdio: 'ignore' })
  }
  return { 'tls.crt': readFileSync(crt, 'utf8'), 'tls.key': readFileSync(key, 'utf8') }
}

describe.each(INSTALLATIONS)('the configuration of $name', ({ file }) => {
  let folder: string
  let redis: RedisServer
  let manifests: Manifest[]
  let configFile: string

  beforeAll(async () => {
    await helm()
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pod-'))
    manifests = await render(file)
    configFile = putInPlace(manifests, folder, redis)
    return () => rmSync(folder, { recursive: true })
  })

  it('is accepted by ocm-gateway check', async () => {
    const { code, stdout, stderr } = await run(process.execPath, [CLI, 'check', '--config', configFile], withEnv())
    expect(stdout + stderr).toBe('')
    expect(code).toBe(0)
  })

  it('is served: healthy, and with its keys, as helm test looks at them', async () => {
    await using gateway = await serve(configFile)
    const health = await fetch(`${gateway.adminUrl}${podOf(manifests).container.livenessProbe.httpGet.path}`)
    expect(health.status).toBe(200)
    const ready = await fetch(`${gateway.adminUrl}${podOf(manifests).container.readinessProbe.httpGet.path}`)
    expect(await ready.json()).toMatchObject({ status: 'ready' })

    const [test] = only(manifests, 'Pod').spec.containers as [Manifest]
    const env = Object.fromEntries(test.env.map(({ name, value }: Record<string, string>) => [name, value]))
    expect(env.PUBLIC_HOST).toBe(new URL(configurationOf(manifests).config.server.publicUrl).host)
    expect(new URL(env.GATEWAY).protocol).toBe(new URL(gateway.url).protocol)
    const told = await must(process.execPath, test.args, { env: { ...env, GATEWAY: gateway.url } })
    expect(told).toMatch(/^200 \{"keys":\[\{/)
    expect(told).toContain(`"kid":"${env.PUBLIC_HOST}#`)
  })
})

/** The environment that an installation’s own `extraEnv` would give. */
const withEnv = () => ({ env: { BOARDS_TOKEN: 'only-in-tests' } })

/**
 * The files of a pod below a folder instead of at the root, as its volumes say; listeners on free ports of this machine,
 * and Redis the one that is here. @returns the path of the configuration file
 */
function putInPlace(manifests: readonly Manifest[], folder: string, redis: RedisServer): string {
  const { spec, container } = podOf(manifests)
  const pathOf = (name: string) =>
    join(folder, container.volumeMounts.find((mount: Manifest) => mount.name === name).mountPath)
  for (const { secret } of spec.volumes.find(({ name }: Manifest) => name === 'secrets')?.projected.sources ?? []) {
    const own = manifests.find(({ kind, metadata }) => kind === 'Secret' && metadata.name === secret.name)?.data
    for (const { key, path } of secret.items as { key: string; path: string }[]) {
      const text = own ? Buffer.from(own[key], 'base64') : secretText(key, folder, redis.password)
      write(join(pathOf('secrets'), path), text)
    }
  }
  const { text } = configurationOf(manifests)
  const here = text
    .replaceAll(/(\/run\/secrets\/ocm-gateway\/|\/data\/)/g, (path) => join(folder, path))
    .replace(/isten: 0\.0\.0\.0:\d+/g, 'isten: 127.0.0.1:0')
    .replace(/store: redis.*/, `store: redis://127.0.0.1:${redis.port}/0`)
  return write(join(pathOf('config'), 'gateway.yaml'), here)
}

function write(file: string, text: string | Buffer): string {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  return file
}

async function serve(file: string) {
  const env = { ...process.env, ...withEnv().env }
  const child = spawn(process.execPath, [CLI, 'serve', '--config', file], { stdio: ['ignore', 'pipe', 'pipe'], env })
  const exited = once(child, 'close')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const listening = await until(
    'the gateway listens',
    () => {
      if (child.exitCode !== null) throw new Error(`the gateway did not start:\n${output}`)
      return output.split('\n').find((line) => line.includes('"event":"listening"'))
    },
    30,
  )
  const { url, adminUrl } = JSON.parse(listening) as { url: string; adminUrl: string }
  return {
    url,
    adminUrl,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      expect(await exited, output).toEqual([0, null])
    },
  }
}
