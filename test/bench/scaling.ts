import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Figure, figureOf, showFigure, showTable } from './figures.ts'
import { startGateway } from './gateway.ts'
import { runJob } from './measure.ts'
import { cpuSeconds, messageOf, startWorker } from './processes.ts'
import type { Counted, Headers } from './workloads.ts'

/** One is not enough to keep two workers busy. */
const GENERATORS = 2
const WORKERS = [1, 2] as const
const WARM_UP_MS = 4000

interface ScalingSample {
  readonly perSecond: number
  /** Of all workers together. */
  readonly cpuMicroseconds: number
  /** How many cores the gateway kept busy. */
  readonly cores: number
}

/** By the number of workers. */
export type ScalingReport = Readonly<Record<string, Readonly<Record<keyof ScalingSample, Figure>>>>

interface ScalingPlan {
  readonly samples: number
  readonly milliseconds: number
}

interface Scaled {
  readonly workers: number
  readonly pid: number
  readonly port: number
  readonly headers: Headers
}

/** Requests of 1 KiB to the gateway with one worker and with two, from two load generators, in turn. */
export async function measureScaling({ samples, milliseconds }: ScalingPlan): Promise<ScalingReport> {
  await using opened = new AsyncDisposableStack()
  const scaled: Scaled[] = []
  for (const workers of WORKERS) scaled.push(await startScaled(opened, workers))
  const loads = Array.from({ length: GENERATORS }, () => opened.use(startWorker(new URL('./load.ts', import.meta.url))))
  const run = ({ port, headers }: Scaled, duration: number) =>
    Promise.all(loads.map(({ worker }) => runJob(worker, { workload: '1k', port, headers, milliseconds: duration })))
  const taken = new Map<number, ScalingSample[]>(WORKERS.map((workers) => [workers, []]))
  for (const gateway of scaled) await run(gateway, WARM_UP_MS)
  for (let round = 0; round < samples; round += 1) {
    for (const gateway of scaled) {
      const cpu = cpuSeconds(gateway.pid)
      const counted = await run(gateway, milliseconds)
      taken.get(gateway.workers)?.push(sampleOf(counted, cpuSeconds(gateway.pid) - cpu))
    }
  }
  return Object.fromEntries([...taken].map(([workers, all]) => [String(workers), figuresOf(all)]))
}

/** Each has an app of its own, or the app’s only thread would be what is measured. */
async function startScaled(opened: AsyncDisposableStack, workers: number): Promise<Scaled> {
  const app = opened.use(startWorker(new URL('./upstream-app.ts', import.meta.url)))
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-scaling-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const gateway = opened.use(await startGateway({ appPort: await messageOf<number>(app.worker), folder, workers }))
  const { headers } = await gateway.open()
  return { workers, pid: gateway.pid, port: gateway.port, headers }
}

function sampleOf(counted: readonly Counted[], cpu: number): ScalingSample {
  const units = counted.reduce((sum, each) => sum + each.units, 0)
  const seconds = Math.max(...counted.map((each) => each.seconds))
  return { perSecond: units / seconds, cpuMicroseconds: (cpu * 1e6) / units, cores: cpu / seconds }
}

function figuresOf(samples: readonly ScalingSample[]) {
  const figure = (key: keyof ScalingSample) => figureOf(samples.map((sample) => sample[key]))
  return { perSecond: figure('perSecond'), cpuMicroseconds: figure('cpuMicroseconds'), cores: figure('cores') }
}

export function showScaling(report: ScalingReport): string {
  const rows = Object.entries(report).map(([workers, { perSecond, cpuMicroseconds, cores }]) => [
    workers,
    ...[perSecond, cpuMicroseconds, cores].map(showFigure),
  ])
  return showTable([['server.workers', '1 KiB requests/s', 'CPU µs/request', 'cores busy'], ...rows])
}
