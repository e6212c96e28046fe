import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { installJupyterHub, startJupyterHub } from '../../src/demo/jupyterhub/rig.ts'
import { type Figure, figureOf, showFigure, showTable } from './figures.ts'
import { startGateway } from './gateway.ts'
import { runJob } from './measure.ts'
import { accountOf, cpuSeconds, startWorker } from './processes.ts'
import { APP_BASE, type Headers } from './workloads.ts'

const WARM_UP_MS = 5000

interface AssetSample {
  readonly perSecond: number
  /** Of the gateway. */
  readonly cpuMicroseconds: number
  /** Of the hub’s own configurable-http-proxy, which the same requests pass. */
  readonly hubProxyMicroseconds: number
  readonly ratio: number
}

/** A file of JupyterLab’s page, asked for through gateway, hub’s proxy and notebook server. */
export type AssetReport = { readonly kibibytes: number } & Readonly<Record<keyof AssetSample, Figure>>

interface AssetPlan {
  readonly samples: number
  readonly milliseconds: number
}

/** What a static file of JupyterLab costs the gateway, beside what the same request costs the hub’s own proxy. */
export async function measureAssets(
  { samples, milliseconds }: AssetPlan,
  say: (line: string) => void,
): Promise<AssetReport> {
  await using opened = new AsyncDisposableStack()
  const scene = await startScene(opened, say)
  const load = opened.use(startWorker(new URL('./load.ts', import.meta.url)))
  const { path, port, headers } = scene
  const run = (duration: number) =>
    runJob(load.worker, { workload: '100k', path, port, headers, milliseconds: duration })
  await run(WARM_UP_MS)
  const taken: AssetSample[] = []
  for (let round = 0; round < samples; round += 1) {
    const before = [scene.pid, scene.hubProxy].map(cpuSeconds)
    const { units, seconds } = await run(milliseconds)
    const [ours = 0, hubs = 0] = [scene.pid, scene.hubProxy].map((pid, nth) => cpuSeconds(pid) - (before[nth] ?? 0))
    const perUnit = (cpu: number) => (cpu * 1e6) / units
    const cpu = { cpuMicroseconds: perUnit(ours), hubProxyMicroseconds: perUnit(hubs), ratio: ours / hubs }
    taken.push({ perSecond: units / seconds, ...cpu })
  }
  const figure = (key: keyof AssetSample) => figureOf(taken.map((sample) => sample[key]))
  return {
    kibibytes: scene.kibibytes,
    perSecond: figure('perSecond'),
    cpuMicroseconds: figure('cpuMicroseconds'),
    hubProxyMicroseconds: figure('hubProxyMicroseconds'),
    ratio: figure('ratio'),
  }
}

/** A hub with one running notebook server, which a launch has started. */
async function startScene(opened: AsyncDisposableStack, report: (line: string) => void) {
  const { bin } = await installJupyterHub({ report })
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-bench-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const hub = await startJupyterHub({ bin, folder, basePath: APP_BASE, report, notebook: EMPTY_NOTEBOOK })
  opened.defer(() => hub.stop())
  const apiTokenFile = join(folder, 'hub-token')
  await writeFile(apiTokenFile, hub.token)
  const appPort = Number(new URL(hub.url).port)
  const webapp = { kind: 'jupyterhub', jupyterhub: { apiUrl: hub.apiUrl, apiTokenFile, content: 'none' } }
  const gateway = opened.use(await startGateway({ appPort, folder: join(folder, 'gateway'), webapp }))
  const { headers, location } = await gateway.open()
  const { pid, port } = gateway
  const path = await assetOf(port, await untilStarted(port, location, headers), headers)
  const { length } = await get(port, path, headers)
  return { pid, port, headers, path, kibibytes: length / 1024, hubProxy: hubProxyAt(appPort) }
}

const EMPTY_NOTEBOOK = { nbformat: 4, nbformat_minor: 5, metadata: {}, cells: [] }

/** @returns the body @throws {Error} unless the answer is a 200 */
async function get(port: number, path: string, headers: Headers): Promise<Buffer> {
  const [answer] = (await once(request({ port, path, headers }).end(), 'response')) as [IncomingMessage]
  const body = await buffer(answer)
  if (answer.statusCode !== 200) throw new Error(`${path} was answered ${answer.statusCode}`)
  return body
}

/** Follows the events of the starting page, when there is one. @returns the path of the notebook page */
async function untilStarted(port: number, location: string, headers: Headers): Promise<string> {
  if (!location.endsWith('/.ocm/starting')) return location
  const events = String(await get(port, `${location}/events`, headers))
  const [, data] = /event: ready\ndata: (.*)/.exec(events) ?? []
  if (data === undefined) throw new Error(`the notebook server did not start: ${events}`)
  return (JSON.parse(data) as { location: string }).location
}

/** @returns the path of the page’s main script */
async function assetOf(port: number, page: string, headers: Headers): Promise<string> {
  const html = String(await get(port, page, headers))
  const [, path] = /<script[^>]+src="([^"]+\/static\/lab\/main\.[^"]+)"/.exec(html) ?? []
  if (path === undefined) throw new Error(`there is no script in ${page}`)
  return path.replaceAll('&amp;', '&')
}

/** The process that the hub started with that port in its command line. */
function hubProxyAt(port: number): number {
  const found = readdirSync('/proc').find((name) => {
    if (!/^\d+$/.test(name)) return false
    const command = accountOf(`${name}/cmdline`)
    return command.includes('configurable-http-proxy') && command.includes(String(port))
  })
  if (found === undefined) throw new Error('the hub’s proxy is not running')
  return Number(found)
}

export function showAssets({
  kibibytes,
  perSecond,
  cpuMicroseconds,
  hubProxyMicroseconds,
  ratio,
}: AssetReport): string {
  const head = [`JupyterLab’s main script, ${kibibytes.toFixed(0)} KiB`, 'requests/s', 'CPU µs/request']
  return showTable([
    head,
    ['gateway', showFigure(perSecond), showFigure(cpuMicroseconds)],
    ['the hub’s proxy behind it', '', showFigure(hubProxyMicroseconds)],
    ['gateway / the hub’s proxy', '', showFigure(ratio)],
  ])
}
