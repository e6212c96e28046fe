import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { get } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freePort } from '../../src/demo/listen.ts'
import { openWebSocket, type Scene, startScene } from './harness.ts'
import { until } from './until.ts'

const metric = async ({ gateway }: Scene, line: string) =>
  (await (await fetch(`${gateway.adminUrl}/metrics`)).text()).includes(`\nocm_gateway_${line}\n`)

describe('when the configuration file changes, without a signal', () => {
  let scene: Scene
  let good: string

  beforeAll(async () => {
    scene = await startScene()
    good = readFileSync(scene.gateway.configFile, 'utf8')
  })
  afterAll(() => scene.close())

  const change = (text: string) => {
    writeFileSync(`${scene.gateway.configFile}.new`, text)
    renameSync(`${scene.gateway.configFile}.new`, scene.gateway.configFile)
  }

  it('a good one is taken as a whole, and sessions go on', async () => {
    const opened = await scene.open()
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    change(good.replace('"kind": "generic"', '"headers": { "X-Changed": "yes" }, "kind": "generic"'))
    await scene.gateway.event('config.reloaded')
    expect((await scene.visit('/notes/changed', opened)).status).toBe(200)
    expect(scene.app.last('/notes/changed').headers['x-changed']).toBe('yes')
    expect(await live.echo('still')).toBe('still')
    live.socket.terminate()
    expect(await metric(scene, 'config_reloads_total{result="ok"} 1')).toBe(true)
  })

  it('a bad one is refused once, shows in the metrics, and the old one goes on until it is mended', async () => {
    change('server: { publicUrll: x }')
    await scene.gateway.event('config.refused')
    expect(await metric(scene, 'config_last_reload_successful 0')).toBe(true)
    expect((await scene.send('/.well-known/jwks.json')).status).toBe(200)
    change(good)
    await until('it is mended', () => scene.gateway.eventsNamed('config.reloaded').length === 2)
    expect(scene.gateway.eventsNamed('config.refused')).toHaveLength(1)
    expect(await metric(scene, 'config_last_reload_successful 1')).toBe(true)
    expect(await metric(scene, 'config_reloads_total{result="refused"} 1')).toBe(true)
  })

  it('one that takes a pairing away ends its sessions', async () => {
    const opened = await scene.open()
    const live = await openWebSocket(scene.gateway, '/notes/live', opened)
    change(good.replace(scene.alice.domain, 'other.localhost'))
    await live.closed
    expect((await scene.visit('/notes/', opened)).status).toBe(401)
    change(good)
    await until('it is mended', () => scene.gateway.eventsNamed('config.reloaded').length === 4)
  })

  it('with watchFiles: false nothing is read before SIGHUP', async () => {
    const still = good.replace('"insecureLoopback"', '"watchFiles": false, "insecureLoopback"')
    change(still)
    await until('it does not watch', () => scene.gateway.eventsNamed('config.reloaded').length === 5)
    change(`${still} `)
    change(`${good}  `)
    await new Promise((resolve) => setTimeout(resolve, 2500))
    expect(scene.gateway.eventsNamed('config.reloaded')).toHaveLength(5)
  })
})

describe('a secret in a volume of Kubernetes', () => {
  const volume = mkdtempSync(join(tmpdir(), 'volume-'))
  let scene: Scene

  /** As the kubelet does: the new content in a folder of its own, and `..data` set anew in one step. */
  const publish = (version: string, secret: string) => {
    mkdirSync(join(volume, version))
    writeFileSync(join(volume, version, 'key'), secret)
    symlinkSync(version, join(volume, '..data_tmp'))
    renameSync(join(volume, '..data_tmp'), join(volume, '..data'))
  }

  beforeAll(async () => {
    publish('..v1', 'a'.repeat(32))
    symlinkSync('..data/key', join(volume, 'key'))
    scene = await startScene({ pairing: { sharedKeyFile: join(volume, 'key') } })
  })
  afterAll(async () => {
    await scene.close()
    rmSync(volume, { recursive: true })
  })

  it('is read again when its link changes; one that is no good is refused', async () => {
    publish('..v2', 'b'.repeat(32))
    await scene.gateway.event('config.reloaded')
    publish('..v3', 'short')
    const refused = await scene.gateway.event('config.refused')
    expect(String(refused.problems)).toContain('sharedKeyFile')
    publish('..v4', 'c'.repeat(32))
    await until('it is mended', () => scene.gateway.eventsNamed('config.reloaded').length === 2)
  })
})

describe.each([1, 2])('a certificate (workers: %i)', (workers) => {
  const folder = mkdtempSync(join(tmpdir(), 'tls-'))
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  let scene: Scene
  let port: number

  const renew = (name: string) => {
    const made = [
      '-nodes',
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      `${keyFile}.new`,
      '-out',
      `${certFile}.new`,
    ]
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', ...made], {
      stdio: 'ignore',
    })
  }
  const take = (file: string) => renameSync(`${file}.new`, file)
  const served = () =>
    new Promise<string>((resolve, reject) =>
      get({ port, rejectUnauthorized: false, agent: false, path: '/.well-known/jwks.json' }, (res) => {
        resolve((res.socket as TLSSocket).getPeerCertificate().subject.CN?.toString() ?? '')
        res.resume()
      }).on('error', reject),
    )

  beforeAll(async () => {
    port = await freePort()
    renew('first')
    take(certFile)
    take(keyFile)
    scene = await startScene({ server: { workers, listen: `127.0.0.1:${port}`, tls: { certFile, keyFile } } })
  })
  afterAll(async () => {
    await scene.close()
    rmSync(folder, { recursive: true })
  })

  it('is renewed without a restart; one that does not fit its key is not taken', async () => {
    expect(await served()).toBe('first')
    renew('second')
    take(certFile)
    await scene.gateway.event('config.refused')
    expect(await served()).toBe('first')
    take(keyFile)
    await scene.gateway.event('config.reloaded')
    expect(await served()).toBe('second')
  })
})
