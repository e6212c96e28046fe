import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import pino from 'pino'
import { beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { createMetrics } from '../../src/admin/metrics.ts'
import { createEvents } from '../../src/core/events.ts'
import { CHART, INSTALLATIONS, type Manifest, only, render } from './rendering.ts'
import { helm, must, promtool, pythonTool, ROOT, resourceModels, run } from './tools.ts'

/** The oldest that the chart says it can do with, and the newest that there are schemas of. */
const KUBERNETES = ['1.30', '1.37']

/** Kinds that are not Kubernetes' own, and the modules that know their form. */
const CUSTOM: Record<string, string> = {
  HTTPRoute: '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute.js',
  ServiceMonitor: '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor.js',
  PrometheusRule: '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule.js',
}

const isCustom = ({ kind }: Manifest) => Object.hasOwn(CUSTOM, kind)

beforeAll(helm)

describe('Kubernetes’ own schemas, strictly', () => {
  beforeAll(() => pythonTool('kubernetes-validate'))

  const cases = INSTALLATIONS.flatMap((installation) => KUBERNETES.map((version) => ({ ...installation, version })))
  it.each(cases)('accept $name for $version', async ({ file, version }) => {
    expect(
      await strictly(
        version,
        (await render(file)).filter((manifest) => !isCustom(manifest)),
      ),
    ).toEqual([])
  })

  it('refuse a key that does not exist, so that the other tests mean something', async () => {
    const wrong = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'a' }, spec: { prots: [] } }
    expect(await strictly('1.37', [wrong])).toEqual([expect.stringContaining("'prots' was unexpected")])
  })
})

/** The complaints about those manifests. */
async function strictly(version: string, manifests: readonly Manifest[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'manifests-'))
  const file = join(folder, 'manifests.yaml')
  writeFileSync(file, manifests.map((manifest) => `---\n${stringify(manifest)}`).join(''))
  const args = ['--kubernetes-version', version, '--strict', file]
  const { stdout, stderr } = await run(await pythonTool('kubernetes-validate'), args)
  rmSync(folder, { recursive: true })
  const lines = `${stdout}${stderr}`.split('\n')
  const good = lines.filter((line) => line.startsWith('INFO') && line.includes('passed')).length
  const complaints = lines.filter((line) => /^(ERROR|WARN|Traceback)/.test(line))
  return complaints.length > 0 || good === manifests.length
    ? complaints
    : [`${good} of ${manifests.length} were looked at`]
}

describe('the forms of the Gateway API and of the Prometheus operator', () => {
  const examine = async (manifest: Manifest) => {
    const module = await import(pathToFileURL(join(await resourceModels(), CUSTOM[manifest.kind] ?? '')).href)
    new module[manifest.kind](manifest).validate()
  }

  beforeAll(resourceModels)

  it.each(INSTALLATIONS)('accept $name', async ({ file }) => {
    for (const manifest of (await render(file)).filter(isCustom)) await examine(manifest)
  })

  it('are all three in the installation that has everything', async () => {
    const { file = '' } = INSTALLATIONS.find(({ name }) => name === 'full') ?? {}
    const kinds = (await render(file)).filter(isCustom).map(({ kind }) => kind)
    expect(kinds.sort()).toEqual(Object.keys(CUSTOM).sort())
  })

  it('refuse what has the wrong form, so that the other tests mean something', async () => {
    await expect(examine({ kind: 'ServiceMonitor', metadata: {}, spec: { endpoints: 'all' } })).rejects.toThrow()
  })
})

describe('alerts and dashboard', () => {
  const alerts = join(CHART, 'alerts/alerts.yaml')
  const dashboard = join(CHART, 'dashboards/ocm-webapp-gateway.json')

  it('promtool reads every rule, also as the chart renders them', async () => {
    const { file = '' } = INSTALLATIONS.find(({ name }) => name === 'full') ?? {}
    const rendered = only(await render(file), 'PrometheusRule').spec
    const folder = mkdtempSync(join(tmpdir(), 'rules-'))
    writeFileSync(join(folder, 'rendered.yaml'), stringify(rendered))
    expect(await must(await promtool(), ['check', 'rules', alerts, join(folder, 'rendered.yaml')])).toContain('SUCCESS')
    rmSync(folder, { recursive: true })
    expect(JSON.stringify(rendered)).not.toContain('job=\\"ocm-webapp-gateway\\"')
    const names = rendered.groups[0].rules.map(({ alert, record }: Manifest) => alert ?? record)
    expect(names).toContain('OcmGatewayDown')
    expect(names).toContain('ocm_gateway:launches:rate5m')
    expect(names).not.toContain('OcmGatewayRestarting')
  })

  it('docs/operating.md tells what to do for each alert', () => {
    const guide = readFileSync(join(ROOT, 'docs/operating.md'), 'utf8')
    const names: string[] = parse(readFileSync(alerts, 'utf8')).groups[0].rules.map(({ alert }: Manifest) => alert)
    expect(names.filter((name) => !guide.includes(`| \`${name}\` |`))).toEqual([])
  })

  it('the alerts fire when they should, and not otherwise', async () => {
    expect(await must(await promtool(), ['test', 'rules', join(CHART, 'alerts/alerts.test.yaml')])).toContain('SUCCESS')
  })

  it.each([
    [
      'alerts',
      () =>
        parse(readFileSync(alerts, 'utf8'))
          .groups[0].rules.map(({ expr }: Manifest) => expr)
          .join('\n'),
    ],
    ['dashboard', () => readFileSync(dashboard, 'utf8')],
  ])('the %s ask for metrics that the gateway has', async (_, read) => {
    const named = new Set<string>(read().match(/ocm_gateway_\w+/g) ?? [])
    expect(named.size).toBeGreaterThan(10)
    const known = await metricNames()
    expect([...named].filter((name) => !known.has(name))).toEqual([])
  })
})

async function metricNames(): Promise<Set<string>> {
  const gauges = { sessions: async () => [], shares: async () => [] }
  const metrics = await createMetrics(createEvents(pino({ level: 'silent' })), gauges).getMetricsAsJSON()
  const suffixes: Record<string, string[]> = { histogram: ['_bucket', '_sum', '_count'] }
  return new Set(metrics.flatMap(({ name, type }) => [name, ...(suffixes[type] ?? []).map((suffix) => name + suffix)]))
}
