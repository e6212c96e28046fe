import { readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { chartOf } from './chart.ts'
import { type Figure, figureOf, showFigure, showTable, spreadOf } from './figures.ts'
import { measureAtFixedRate, showFixedRate } from './fixed-rate.ts'
import { measureFloods } from './flood.ts'
import { measureIdle, showIdle } from './idle.ts'
import { measureAssets, showAssets } from './jupyterhub.ts'
import { measure, type Plan, type Sample } from './measure.ts'
import { measureOperations, reportOf, showOperations, showRevocation } from './operations.ts'
import { residentBytes, startWorker } from './processes.ts'
import { measureReplicas, revokeAcrossReplicas } from './replicas.ts'
import { BASELINE, type Report, type WorkloadReport, withTables } from './report.ts'
import { measureRules, showRules } from './rules.ts'
import { measureScale, showScale } from './scale.ts'
import { measureScaling, showScaling } from './scaling.ts'
import { measureStreaming } from './streaming.ts'
import { SUBJECTS, type Subject, type SubjectName, startSubjects } from './subjects.ts'
import { redisVersion } from './tools.ts'
import { type WorkloadName, workloadOf } from './workloads.ts'

/** The gateway’s CPU time per request or message, as a share of configurable-http-proxy’s, may be this much. */
const BOUNDS: Partial<Record<WorkloadName, number>> = { '1k': 0.85, '100k': 0.85, echo: 1.3 }

/** Ratios of single rounds that lie further apart than this (as a share of their median) say more of the machine than of the subjects. */
const NOISY_SPREAD = 0.3

interface Extent {
  readonly plan: Plan
  readonly names: readonly SubjectName[]
  readonly workloads: readonly WorkloadName[]
}

const EXTENTS: Record<'usual' | 'quick', Extent> = {
  usual: {
    plan: { starts: 3, samples: 3, milliseconds: 1200, warmUp: 20_000 },
    names: SUBJECTS,
    workloads: ['1k', '100k', '10m', 'echo'],
  },
  quick: {
    plan: { starts: 3, samples: 2, milliseconds: 600, warmUp: 10_000 },
    names: ['app', 'nginx', 'configurable-http-proxy', 'gateway'],
    workloads: ['1k', '100k', 'echo'],
  },
}
const FIXED_RATE = {
  names: ['nginx', 'configurable-http-proxy', 'oauth2-proxy', 'gateway', 'gateway-redis'] as readonly SubjectName[],
  samples: 5,
  milliseconds: 3000,
}
const IDLE = {
  names: ['nginx', 'haproxy', 'configurable-http-proxy', 'gateway'] as readonly SubjectName[],
  sockets: 4000,
  rounds: 3,
}
const OPERATIONS = { rounds: 5, each: 400, revocations: 300 }
const REPLICA_REVOCATIONS = 300
/** As many as a process here may have file descriptors for, at most. */
const MANY_IDLE = { names: ['gateway'] as readonly SubjectName[], sockets: 10_000, rounds: 1 }
const SHARES = 1_000_000
const RULES = { milliseconds: 8000 }
const ASSETS = { samples: 7, milliseconds: 1500 }
const SCALING = { samples: 7, milliseconds: 1500 }

const docs = (name: string) => fileURLToPath(new URL(`../../docs/${name}`, import.meta.url))

const USAGE = `npm run bench -- [--docs] [--json FILE]
npm run bench -- --only gateway,nginx [--profile DIR]
npm run bench -- --quick [--check]
npm run bench -- --idle SOCKETS | --scale SHARES | --rules | --scaling | --jupyterhub | --streaming | --replicas | --flood

The whole takes 25 minutes, besides what the first run installs in .cache. Nothing else should run on the machine.

--quick         four subjects, fewer and shorter samples: two minutes
--only A,B      only those: ${SUBJECTS.join(', ')}
--check         exit 1 when the gateway costs more CPU time, compared with configurable-http-proxy, than its bounds
--docs          writes docs/performance.json, the tables of docs/performance.md and docs/performance.svg
--docs-again    writes the tables and the chart anew from docs/performance.json, and measures nothing
--json FILE     writes the figures there too
--profile DIR   writes a CPU profile of the gateway there (which slows it)
--idle SOCKETS  memory of the gateway for each of so many idle WebSockets
--scaling       the gateway with one worker and with two
--jupyterhub    a static file of JupyterLab, through gateway and hub
--streaming     memory of the gateway under large and slow transfers
--replicas      how fast a revocation reaches the other gateways on the same Redis
--scale SHARES  what an operation costs with 1,000 and with so many shares in the store
--rules         what of the gateway a request spends its time in
--flood         floods of bad launches: what is asked of the peers, memory, launches of others; exit 1 beyond the bounds
`

const say = (line: string) => void process.stdout.write(`${line}\n`)

function resultOf(workload: WorkloadName, samples: Readonly<Record<string, readonly Sample[]>>): WorkloadReport {
  const figures = Object.fromEntries(Object.entries(samples).map(([name, taken]) => [name, figuresOf(taken)]))
  const baseline = samples[BASELINE]
  if (baseline === undefined) return { workload, figures, ratios: {} }
  const ratio = ({ cpuMicroseconds }: Sample, round: number) =>
    cpuMicroseconds / (baseline[round]?.cpuMicroseconds ?? 0)
  const ratios = Object.entries(samples).map(([name, taken]) => [name, figureOf(taken.map(ratio))])
  return { workload, figures, ratios: Object.fromEntries(ratios) }
}

function figuresOf(samples: readonly Sample[]): Record<keyof Sample, Figure> {
  const figure = (key: keyof Sample) => figureOf(samples.map((sample) => sample[key]))
  return {
    perSecond: figure('perSecond'),
    p50Milliseconds: figure('p50Milliseconds'),
    p99Milliseconds: figure('p99Milliseconds'),
    cpuMicroseconds: figure('cpuMicroseconds'),
    besideMicroseconds: figure('besideMicroseconds'),
  }
}

function showResult({ workload, figures, ratios }: WorkloadReport): string {
  const { title, unit } = workloadOf(workload)
  const head = [title, `${unit}s/s`, 'p50 ms', 'p99 ms', `CPU µs/${unit}`, 'beside it', `× ${BASELINE}`]
  const rows = Object.entries(figures).map(([name, figure]) => [
    name,
    ...[figure.perSecond, figure.p50Milliseconds, figure.p99Milliseconds, figure.cpuMicroseconds].map(showFigure),
    figure.besideMicroseconds.median > 0 ? showFigure(figure.besideMicroseconds) : '',
    ratios[name] ? showFigure(ratios[name]) : '',
  ])
  return `${showTable([head, ...rows])}\n`
}

const megabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`

function memoryOf(subjects: readonly Subject[]): Record<string, number> {
  return Object.fromEntries(subjects.map(({ name, pid }) => [name, residentBytes(pid)]))
}

function showMemory(before: Record<string, number>, after: Record<string, number>): string {
  const rows = Object.entries(after).map(([name, bytes]) => [name, megabytes(before[name] ?? 0), megabytes(bytes)])
  return showTable([['memory (RSS)', 'before', 'after'], ...rows])
}

function exceeds({ workload, ratios }: WorkloadReport): boolean {
  return ratios.gateway === undefined || ratios.gateway.median > (BOUNDS[workload] ?? Infinity)
}

type Again = (workload: WorkloadName) => Promise<readonly WorkloadReport[]>

/** What failed once is measured once more when the machine was noisy. @returns what remains too much */
async function checkAgain(failed: readonly WorkloadReport[], again: Again) {
  const remaining: WorkloadReport[] = []
  for (const result of failed) {
    const { gateway } = result.ratios
    const noisy = gateway !== undefined && spreadOf(gateway) > NOISY_SPREAD
    if (noisy) say(`${result.workload}: ${showFigure(gateway)} is too much, but the machine was noisy; once more`)
    const final = noisy ? await again(result.workload) : [result]
    remaining.push(...final.filter(exceeds))
  }
  return remaining
}

/** @returns whether the gateway stays within its bounds */
async function check(results: readonly WorkloadReport[], again: Again) {
  const tooMuch = await checkAgain(results.filter(exceeds), again)
  for (const { workload, ratios } of tooMuch) {
    const ratio = ratios.gateway ? showFigure(ratios.gateway) : 'nothing to compare: '
    say(`${workload}: ${ratio} times the CPU of ${BASELINE} (must be at most ${BOUNDS[workload]})`)
  }
  return tooMuch.length === 0
}

interface Options {
  readonly quick: boolean
  readonly check: boolean
  readonly docs: boolean
  readonly only?: string | undefined
  readonly json?: string | undefined
  readonly profile?: string | undefined
}

async function benchmark(options: Options): Promise<number> {
  const whole = !options.quick && options.only === undefined
  if (options.docs && !whole) throw new Error('--docs is for the whole bench, without --quick or --only')
  const { within, report: measured } = await measureSubjects(options, whole)
  const report: Report = whole ? { ...measured, ...(await theRest()) } : measured
  const json = `${JSON.stringify(report, null, 2)}\n`
  if (options.json !== undefined) await writeFile(options.json, json)
  if (options.docs) {
    await writeFile(docs('performance.json'), json)
    await writeDocs()
  }
  return within && (!whole || COMPLETE.every((name) => name in report)) ? 0 : 1
}

/** What all subjects are asked in turn. */
async function measureSubjects({ quick, only, profile, check: checked }: Options, whole: boolean) {
  const extent = EXTENTS[quick ? 'quick' : 'usual']
  const { plan, workloads } = extent
  const names = only === undefined ? extent.names : subjectNames(only)
  const gatewayFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  const [processor] = cpus()
  const machine = { processor: processor?.model ?? 'unknown', cores: cpus().length, node: process.version }
  say(`Node ${machine.node}, ${machine.cores} × ${machine.processor}`)
  say(`${plan.starts} starts, ${plan.samples} alternating samples of each, median (min–max)\n`)
  const { results, versions } = await measureStarts({ plan, names, workloads }, gatewayFlags)
  const again = async (workload: WorkloadName) =>
    (await measureStarts({ plan, names: ['gateway', BASELINE], workloads: [workload] }, gatewayFlags)).results
  const within = !checked || (await check(results, again))
  const { starts, samples } = plan
  const report: Report = { machine, versions, starts, samples, workloads: results }
  const later = whole ? await section('fixedRate', () => fixedRate(report), showFixedRate) : {}
  return { within, report: { ...report, ...later } }
}

/** Processes differ for as long as they live, by how their heaps happen to have grown: so they are started several times. */
async function measureStarts({ plan, names, workloads }: Extent, gatewayFlags: readonly string[]) {
  const taken = new Map<WorkloadName, Record<string, Sample[]>>()
  let versions: Report['versions'] = {}
  for (let start = 1; start <= plan.starts; start += 1) {
    const { subjects, resources } = await startSubjects({ names, gatewayFlags }, say)
    await using _ = resources
    await using load = startWorker(new URL('./load.ts', import.meta.url))
    versions = await versionsOf(subjects)
    const before = memoryOf(subjects)
    for (const workload of workloads) {
      const able = subjects.filter(({ webSockets }) => workload !== 'echo' || webSockets !== false)
      const samples = await measure(load.worker, able, workload, plan)
      taken.set(workload, joined(taken.get(workload), samples))
      sayOfStart(start, resultOf(workload, samples))
    }
    say(start < plan.starts ? '' : `\n${showMemory(before, memoryOf(subjects))}\n`)
  }
  const results = [...taken].map(([workload, samples]) => resultOf(workload, samples))
  for (const result of results) say(showResult(result))
  return { results, versions }
}

function joined(before: Record<string, Sample[]> = {}, more: Record<string, Sample[]>): Record<string, Sample[]> {
  return Object.fromEntries(
    Object.entries(more).map(([name, samples]) => [name, [...(before[name] ?? []), ...samples]]),
  )
}

function sayOfStart(start: number, { workload, ratios: { gateway } }: WorkloadReport): void {
  if (gateway) say(`start ${start}, ${workloadOf(workload).title}: the gateway ${showFigure(gateway)} × ${BASELINE}`)
}

/** What a whole report has; `assets` need Python. */
const COMPLETE: readonly (keyof Report)[] = [
  'fixedRate',
  'idle',
  'manyIdle',
  'rules',
  'operations',
  'replicas',
  'scaling',
  'scale',
]

async function versionsOf(subjects: readonly Subject[]): Promise<Report['versions']> {
  const versions = subjects.flatMap(({ name, version }) => (version === undefined ? [] : [[name, version]]))
  if (subjects.some(({ name }) => name === 'gateway-redis')) versions.push(['Redis', await redisVersion()])
  return Object.fromEntries(versions)
}

/** @throws {Error} for a name that is none */
function subjectNames(list: string): SubjectName[] {
  return list.split(',').map((name) => {
    const found = SUBJECTS.find((each) => each === name)
    if (found === undefined) throw new Error(`there is no subject ${name}; there are ${SUBJECTS.join(', ')}`)
    return found
  })
}

/** At half of what configurable-http-proxy can do. */
async function fixedRate({ workloads }: Report) {
  const saturation = workloads.find(({ workload }) => workload === '1k')?.figures[BASELINE]?.perSecond.median
  if (saturation === undefined) throw new Error(`${BASELINE} is missing`)
  const { subjects, resources } = await startSubjects({ names: FIXED_RATE.names }, say)
  await using _ = resources
  return await measureAtFixedRate(subjects, { ...FIXED_RATE, perSecond: Math.round(saturation / 2) })
}

/** What starts its own gateways. */
async function theRest(): Promise<Partial<Report>> {
  const replicas = async () => reportOf((await revokeAcrossReplicas(REPLICA_REVOCATIONS)).taken)
  return {
    ...(await section('idle', () => measureIdle(IDLE, say), showIdle)),
    ...(await section('manyIdle', () => measureIdle(MANY_IDLE, say), showIdle)),
    ...(await section('rules', () => measureRules(RULES), showRules)),
    ...(await section('operations', () => measureOperations(OPERATIONS), showOperations)),
    ...(await section('replicas', replicas, (taken) => showRevocation('three gateways, Redis', taken))),
    ...(await section('scaling', () => measureScaling(SCALING), showScaling)),
    ...(await section('assets', () => measureAssets(ASSETS, say), showAssets)),
    ...(await section('scale', () => measureScale(SHARES, say), showScale)),
  }
}

/** A part that fails is left out, and said, since the others took minutes. */
async function section<Name extends keyof Report, Part>(
  name: Name,
  measurePart: () => Promise<Part>,
  show: (part: Part) => string,
): Promise<{ [name in Name]?: Part }> {
  try {
    const part = await measurePart()
    say(`${show(part)}\n`)
    return { [name]: part } as { [name in Name]?: Part }
  } catch (error) {
    say(`${name} is left out: ${(error as Error).message}\n`)
    return {}
  }
}

async function writeDocs(): Promise<void> {
  const report = JSON.parse(await readFile(docs('performance.json'), 'utf8')) as Report
  const document = await readFile(docs('performance.md'), 'utf8')
  await writeFile(docs('performance.md'), withTables(document, report))
  await writeFile(docs('performance.svg'), chartOf(report))
}

function countOf(option: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new Error(`--${option} takes a number, such as --${option} 1000; this is none: ${JSON.stringify(text)}`)
}

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    docs: { type: 'boolean', default: false },
    'docs-again': { type: 'boolean', default: false },
    only: { type: 'string' },
    idle: { type: 'string' },
    scaling: { type: 'boolean', default: false },
    jupyterhub: { type: 'boolean', default: false },
    streaming: { type: 'boolean', default: false },
    replicas: { type: 'boolean', default: false },
    scale: { type: 'string' },
    rules: { type: 'boolean', default: false },
    flood: { type: 'boolean', default: false },
    json: { type: 'string' },
    profile: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) say(USAGE)
else if (values['docs-again']) await writeDocs()
else if (values.idle !== undefined)
  say(showIdle(await measureIdle({ ...IDLE, names: ['gateway'], sockets: countOf('idle', values.idle) }, say)))
else if (values.scaling) say(showScaling(await measureScaling(SCALING)))
else if (values.jupyterhub) say(showAssets(await measureAssets(ASSETS, say)))
else if (values.streaming) await measureStreaming(say)
else if (values.replicas) await measureReplicas(values, say)
else if (values.scale !== undefined) say(showScale(await measureScale(countOf('scale', values.scale), say)))
else if (values.rules) say(showRules(await measureRules(RULES)))
else if (values.flood) process.exitCode = (await measureFloods(values, say)) ? 0 : 1
else process.exitCode = await benchmark(values)
