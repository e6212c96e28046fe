import { execFile } from 'node:child_process'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { launch, type Opened, openWebSocket, type Scene, startScene } from './harness.ts'
import { expectNoSecrets } from './leaks.ts'

const ROOT = join(import.meta.dirname, '../..')
const guide = readFileSync(join(ROOT, 'docs/operating.md'), 'utf8')

/** The commands below a heading, one text for each block. */
function blocksUnder(heading: string): string[] {
  const start = guide.indexOf(`\n${heading}\n`)
  if (start === -1) throw new Error(`the guide has no heading ${heading}`)
  const next = guide.slice(start + 1).search(/\n#{2,3} /)
  const section = next === -1 ? guide.slice(start) : guide.slice(start, start + 1 + next)
  return [...section.matchAll(/^ *```sh\n([\s\S]*?)\n *```$/gm)].map(([, block = '']) => block)
}

const run = promisify(execFile)
const executed = new Set<string>()

/** Runs a block as it stands, but for the names in it, in the folder of the gateway’s configuration. */
async function perform(scene: Scene, block: string, names: Record<string, string> = {}): Promise<string> {
  const { folder, adminUrl } = scene.gateway
  executed.add(block)
  writeFileSync(
    join(folder, 'ocm-gateway'),
    `#!/bin/sh\nexec ${join(ROOT, 'node_modules/.bin/node')} ${join(ROOT, 'src/cli.ts')} "$@"\n`,
    { mode: 0o755 },
  )
  const known = { 'cloud.example.org': scene.alice.domain, 'http://127.0.0.1:9090': adminUrl, ...names }
  const script = Object.entries(known).reduce((text, [name, value]) => text.replaceAll(name, value), block)
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}`, NODE_OPTIONS: '' }
  const { stdout, stderr } = await run('bash', ['-euo', 'pipefail', '-c', script], { cwd: folder, env })
  expectNoSecrets(stdout + stderr, block)
  return stdout
}

const keepLog = ({ gateway }: Scene) => writeFileSync(join(gateway.folder, 'gateway.log'), gateway.output.stdout)

describe('the operator’s guide', { timeout: 120_000 }, () => {
  let scene: Scene
  let opened: Opened

  beforeAll(async () => {
    scene = await startScene()
    opened = await scene.open()
  })
  afterAll(() => scene.close())

  it('checks the configuration', async () => {
    const [check = ''] = blocksUnder('## Start, stop, reload')
    expect(await perform(scene, check)).toBe('')
  })

  it('backs up beside a running gateway, restores, and revokes again what was revoked since', async () => {
    const [backup = '', restore = '', again = ''] = blocksUnder('## Backup and restore of SQLite')
    const revoked = await scene.open()
    expect(await perform(scene, backup)).toContain('backup=backup.db bytes=')
    expect(statSync(join(scene.gateway.folder, 'backup.db')).mode & 0o777).toBe(0o600)
    await scene.alice.unshare(revoked.share.providerId, { notify: false })
    const later = await scene.open()
    keepLog(scene)
    await scene.gateway.terminate()
    await perform(scene, restore)
    expect(await perform(scene, again)).toContain(`share=${revoked.share.providerId} state=revoked`)
    await scene.gateway.start()
    expect((await scene.visit('/notes/', opened)).status).toBe(200)
    expect((await launch(scene.gateway, revoked.token)).status).toBe(410)
    expect((await launch(scene.gateway, later.token)).status).toBe(404)
  })

  it('makes a key that can be published beside the old one, exchanged with it, and take its place', async () => {
    const [generate = ''] = blocksUnder("### The gateway's signing key")
    await perform(scene, generate)
    expect(statSync(join(scene.gateway.folder, 'next-key.json')).mode & 0o777).toBe(0o600)
    const published = async () => {
      const { keys } = (await scene.send('/.well-known/jwks.json')).json() as { keys: { kid: string }[] }
      return keys.map(({ kid }) => kid)
    }
    const restartWith = async (server: Record<string, unknown>) => {
      const document = parse(readFileSync(scene.gateway.configFile, 'utf8'))
      writeFileSync(
        scene.gateway.configFile,
        JSON.stringify({ ...document, server: { ...document.server, furtherSigningKeyFiles: [], ...server } }),
      )
      await scene.gateway.terminate()
      await scene.gateway.start()
    }
    const [old] = await published()
    await restartWith({ furtherSigningKeyFiles: ['./next-key.json'] })
    const [first, next] = await published()
    expect(first).toBe(old)
    await restartWith({ signingKeyFile: './next-key.json', furtherSigningKeyFiles: ['./signing-key.json'] })
    expect(await published()).toEqual([next, old])
    await restartWith({ signingKeyFile: './next-key.json' })
    expect(await published()).toEqual([next])
    expect((await scene.visit('/notes/', opened)).status).toBe(200)
  })

  it('lists, shows, revokes and ends by hand', async () => {
    const [look = '', revoke = '', end = ''] = blocksUnder('## By hand')
    const [shared, other] = [await scene.open(), await scene.open()]
    const names = { ' 42 ': ` ${shared.share.providerId} ` }
    const seen = await perform(scene, look, names)
    expect(seen).toContain(`share=${shared.share.providerId} state=live`)
    const id = new RegExp(`session=(\\S+) .*share=${other.share.providerId} `).exec(seen)?.[1] ?? ''
    const live = await openWebSocket(scene.gateway, '/notes/live', shared)
    expect(await perform(scene, revoke, names)).toContain('state=revoked sessionsEnded=1')
    await live.closed
    expect(await perform(scene, end, { '0123456789abcdef': id })).toContain('state=ended')
    expect((await scene.visit('/notes/', shared)).status).toBe(401)
    expect((await scene.visit('/notes/', other)).status).toBe(401)
  })

  it('asks what is wrong', async () => {
    const [ready = '', log = ''] = blocksUnder('## When something is wrong')
    expect(JSON.parse(await perform(scene, ready))).toMatchObject({ status: 'ready' })
    await launch(scene.gateway, await scene.token({ claims: { aud: 'x@y.example', client_id: 'none' } }))
    keepLog(scene)
    const { requestId } = await scene.gateway.event('launch.refused')
    const told = await perform(scene, log, { k3XH0nYVtqf2: String(requestId) })
    expect(told).toContain(`"requestId":"${requestId}"`)
    expect(told).toMatch(/1 launch\.refused share_unknown/)
  })

  it('has no command that was not run here', () => {
    const all = [...guide.matchAll(/^ *```sh\n([\s\S]*?)\n *```$/gm)].map(([, block = '']) => block)
    expect(all.length).toBeGreaterThan(8)
    expect(all.filter((block) => !executed.has(block))).toEqual([])
  })

  it('says what to do for every alert, and names every metric of ours', async () => {
    const alerts = readFileSync(join(ROOT, 'charts/ocm-webapp-gateway/alerts/alerts.yaml'), 'utf8')
    const names = [...alerts.matchAll(/alert: (\w+)/g)].map(([, name]) => name)
    expect(names.filter((name) => !guide.includes(`\`${name}\``))).toEqual([])
    const scraped = await (await fetch(`${scene.gateway.adminUrl}/metrics`)).text()
    const metrics = [...scraped.matchAll(/^# TYPE (ocm_gateway_\w+)/gm)].map(([, name]) => name ?? '')
    const own = metrics.filter((name) => !/^ocm_gateway_(process|nodejs)_/.test(name))
    expect(own.filter((name) => !guide.includes(name))).toEqual([])
  })
})
