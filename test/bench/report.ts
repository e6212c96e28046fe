import { type Figure, showFigure, showNumber } from './figures.ts'
import type { FixedRateReport } from './fixed-rate.ts'
import type { IdleReport } from './idle.ts'
import type { AssetReport } from './jupyterhub.ts'
import type { Sample } from './measure.ts'
import type { OperationsReport, RevocationReport } from './operations.ts'
import { type RulesReport, rulesRows } from './rules.ts'
import { type ScaleReport, scaleTables } from './scale.ts'
import type { ScalingReport } from './scaling.ts'
import { type WorkloadName, workloadOf } from './workloads.ts'

/** Everything that one run of the bench found; kept as docs/performance.json. */
export interface Report {
  readonly machine: { readonly processor: string; readonly cores: number; readonly node: string }
  /** Of each subject that is a program of its own. */
  readonly versions: Readonly<Record<string, string>>
  /** How often all was started anew, and how many samples were taken each time. */
  readonly starts: number
  readonly samples: number
  readonly workloads: readonly WorkloadReport[]
  readonly fixedRate?: FixedRateReport
  readonly idle?: IdleReport
  /** Of the gateway alone, as many as one process may have. */
  readonly manyIdle?: IdleReport
  readonly rules?: RulesReport
  readonly operations?: OperationsReport
  readonly replicas?: RevocationReport
  readonly scaling?: ScalingReport
  readonly assets?: AssetReport
  readonly scale?: ScaleReport
}

export interface WorkloadReport {
  readonly workload: WorkloadName
  readonly figures: Readonly<Record<string, Readonly<Record<keyof Sample, Figure>>>>
  /** CPU time per unit, with what is beside, compared with configurable-http-proxy’s, round by round. */
  readonly ratios: Readonly<Record<string, Figure>>
}

export const BASELINE = 'configurable-http-proxy'

/** How subjects are called in the tables and in the chart. */
const TITLES: Readonly<Record<string, string>> = {
  app: 'the app itself, no proxy',
  'nginx-auth-request': 'nginx, auth_request',
  'oauth2-proxy': 'oauth2-proxy, Redis',
  gateway: 'this gateway, SQLite',
  'gateway-redis': 'this gateway, Redis',
  'node-undici': 'Node and undici alone',
}

export const titleOf = (name: string) => TITLES[name] ?? name

/** What is aimed at, and what was measured. */
interface Goal {
  readonly title: string
  readonly value: number | undefined
  readonly limit: number | undefined
}

function goalsOf({ workloads, fixedRate, idle, operations }: Report): Goal[] {
  const of = (name: WorkloadName) => workloads.find(({ workload }) => workload === name)
  const ratio = (name: WorkloadName) => of(name)?.ratios.gateway?.median
  const cpu = (name: WorkloadName, subject: string) => of(name)?.figures[subject]?.cpuMicroseconds.median
  const p99 = (subject: string) => fixedRate?.subjects[subject]?.p99.median
  return [
    { title: '1 KiB: CPU, × configurable-http-proxy', value: ratio('1k'), limit: 0.45 },
    { title: '100 KiB: CPU, × configurable-http-proxy', value: ratio('100k'), limit: 0.65 },
    { title: '1 KiB: CPU µs, and oauth2-proxy’s', value: cpu('1k', 'gateway'), limit: cpu('1k', 'oauth2-proxy') },
    { title: '100 KiB: CPU µs, and oauth2-proxy’s', value: cpu('100k', 'gateway'), limit: cpu('100k', 'oauth2-proxy') },
    { title: 'WebSocket echo: CPU, × configurable-http-proxy', value: ratio('echo'), limit: 1 },
    { title: 'KiB per idle WebSocket', value: idle?.subjects.gateway?.kibibytes.median, limit: 16 },
    { title: 'CPU µs per launch', value: operations?.launch.cpuMicroseconds.median, limit: 2000 },
    { title: 'p99 ms at a fixed rate, and configurable-http-proxy’s', value: p99('gateway'), limit: p99(BASELINE) },
  ]
}

type Rows = readonly (readonly string[])[]

/** All tables, as the text between the markers of docs/performance.md. */
export function markdownOf(report: Report): string {
  const { fixedRate, rules, idle, manyIdle, operations, scaling, assets, scale } = report
  const sections: (readonly [string, Rows] | undefined)[] = [
    [machineOf(report), []],
    ['### What is aimed at', goalRows(report)],
    ['### CPU time per request or message', cpuRows(report)],
    ['### At saturation', saturationRows(report)],
    fixedRate && [fixedRateTitle(fixedRate), fixedRateRows(fixedRate)],
    rules && ['### Where the time of one 1 KiB request goes in this gateway', rulesRows(rules)],
    idle && [idleTitle(idle), idleRows(idle)],
    manyIdle && [idleTitle(manyIdle), idleRows(manyIdle)],
    operations && ['### The gateway’s own endpoints', operationRows(operations)],
    operations && ['### From a revocation to the last closed WebSocket', revocationRows(operations, report.replicas)],
    scaling && ['### `server.workers`', scalingRows(scaling)],
    assets && [`### The main script of JupyterLab, ${assets.kibibytes.toFixed(0)} KiB`, assetRows(assets)],
    ...(scale ? scaleSections(scale) : []),
  ]
  return sections
    .filter((section) => section !== undefined)
    .map(([title, rows]) => (rows.length > 0 ? `${title}\n\n${markdownTable(rows)}` : title))
    .join('\n\n')
}

function machineOf({ machine: { processor, cores, node }, versions, starts, samples }: Report): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version.replace(/^v/, '')}`)
  return (
    `Measured on ${cores} cores of “${processor}”, which the load generator, the app and the proxy share, with Node ${node.replace(/^v/, '')}; ` +
    `${programs.join(', ')}. Medians of ${starts * samples} alternating samples (all programs were started ${starts} times), in brackets the smallest and the largest.`
  )
}

function goalRows(report: Report): Rows {
  const rows = goalsOf(report).map(({ title, value, limit }) => {
    if (value === undefined || limit === undefined) return [title, 'not measured', '', '']
    return [title, showNumber(value), `≤ ${showNumber(limit)}`, value <= limit ? 'yes' : '**no**']
  })
  return [['', 'measured', 'aim', 'reached'], ...rows]
}

function subjectsOf({ workloads }: Report): string[] {
  return [...new Set(workloads.flatMap(({ figures }) => Object.keys(figures)))]
}

/** Own CPU time and, where something is asked for every unit, that process’s. */
function cpuRows(report: Report): Rows {
  const { workloads } = report
  const head = ['CPU µs', ...workloads.map(({ workload }) => workloadOf(workload).title)]
  const rows = subjectsOf(report).map((name) => [
    titleOf(name),
    ...workloads.map(({ figures, ratios }) => {
      const figure = figures[name]
      if (figure === undefined) return ''
      const beside = figure.besideMicroseconds.median
      const ratio = name === 'app' ? undefined : ratios[name]
      return [
        showFigure(figure.cpuMicroseconds),
        ...(beside > 0 ? [`+ ${showNumber(beside)}`] : []),
        ...(ratio ? [`= ${ratio.median.toFixed(2)} ×`] : []),
      ].join(' ')
    }),
  ])
  return [head, ...rows]
}

function saturationRows(report: Report): Rows {
  const { workloads } = report
  const head = ['per second; p99 ms', ...workloads.map(({ workload }) => workloadOf(workload).title)]
  const rows = subjectsOf(report).map((name) => [
    titleOf(name),
    ...workloads.map(({ figures }) => {
      const figure = figures[name]
      return figure ? `${showNumber(figure.perSecond.median)}; ${showNumber(figure.p99Milliseconds.median)}` : ''
    }),
  ])
  return [head, ...rows]
}

const fixedRateTitle = ({ perSecond }: FixedRateReport) =>
  `### Latency of 1 KiB at ${perSecond} requests per second\n\nHalf of what configurable-http-proxy can do; from when a request was due.`

function fixedRateRows({ subjects }: FixedRateReport): Rows {
  const rows = Object.entries(subjects).map(([name, { p50, p99 }]) => [titleOf(name), showFigure(p50), showFigure(p99)])
  return [['', 'p50 ms', 'p99 ms'], ...rows]
}

const idleTitle = ({ sockets }: IdleReport) => `### ${sockets.toLocaleString('en')} idle WebSockets`

function idleRows({ subjects }: IdleReport): Rows {
  const rows = Object.entries(subjects).map(([name, { kibibytes, mebibytes, openMicroseconds }]) => [
    titleOf(name),
    ...[kibibytes, mebibytes, openMicroseconds].map(showFigure),
  ])
  return [['', 'KiB each', 'MiB in all', 'CPU µs to open one'], ...rows]
}

function operationRows({ launch, provisioning }: OperationsReport): Rows {
  const row = (title: string, { perSecond, cpuMicroseconds }: typeof launch) => [
    title,
    showFigure(perSecond),
    showFigure(cpuMicroseconds),
  ]
  return [
    ['', 'per second', 'CPU µs each'],
    row('launch with an ES256 token', launch),
    row('provisioning in a signed request', provisioning),
  ]
}

function revocationRows({ revocation }: OperationsReport, replicas?: RevocationReport): Rows {
  const row = (title: string, { answer, cut }: RevocationReport) => [
    title,
    ...[answer, cut].map(({ p50, p99 }) => `${p50.toFixed(1)}; ${p99.toFixed(1)}`),
  ]
  return [
    ['ms, p50; p99', 'request to answer', 'answer to last WebSocket closed'],
    row('one gateway, SQLite', revocation),
    ...(replicas ? [row('at two other gateways, Redis', replicas)] : []),
  ]
}

function assetRows({ perSecond, cpuMicroseconds, hubProxyMicroseconds, ratio }: AssetReport): Rows {
  return [
    ['', 'requests/s', 'CPU µs/request'],
    ['this gateway, in front of the hub', showFigure(perSecond), showFigure(cpuMicroseconds)],
    ['the hub’s own configurable-http-proxy, for the same requests', '', showFigure(hubProxyMicroseconds)],
    ['gateway / the hub’s proxy', '', showFigure(ratio)],
  ]
}

function scalingRows(scaling: ScalingReport): Rows {
  const rows = Object.entries(scaling).map(([workers, { perSecond, cpuMicroseconds, cores }]) => [
    workers,
    ...[perSecond, cpuMicroseconds, cores].map(showFigure),
  ])
  return [['workers', '1 KiB requests/s', 'CPU µs/request', 'cores busy with it'], ...rows]
}

function scaleSections(scale: ScaleReport): (readonly [string, Rows])[] {
  const [few, many] = [scale.shares.few, scale.shares.many].map((count) => count.toLocaleString('en'))
  return scaleTables(scale).map(([store, rows]) => [`### ${few} shares and ${many}, in ${store}`, rows])
}

function markdownTable([head = [], ...rows]: Rows): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, column) => (column === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

const BEGIN = '<!-- from docs/performance.json; npm run bench -- --docs writes both -->'
const END = '<!-- end of what the bench writes -->'

/** @returns the document with other tables @throws {Error} when it has not exactly one place for them */
export function withTables(document: string, report: Report): string {
  const [before = '', rest, ...more] = document.split(BEGIN)
  const [, after, ...others] = rest?.split(END) ?? []
  if (after === undefined || more.length + others.length > 0) throw new Error(`one ${BEGIN} and one ${END} are needed`)
  return `${before}${BEGIN}\n\n${markdownOf(report)}\n\n${END}${after}`
}
