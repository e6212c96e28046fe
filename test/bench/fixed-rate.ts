import { type Figure, figureOf, showFigure, showTable } from './figures.ts'
import type { FixedRate, Punctuality } from './open-loop.ts'
import { messageOf, startWorker } from './processes.ts'
import type { Subject } from './subjects.ts'

/** Latency in milliseconds, from when a request was due, with the same load on each subject. */
export interface FixedRateReport {
  readonly perSecond: number
  readonly subjects: Readonly<Record<string, { readonly p50: Figure; readonly p99: Figure }>>
}

interface FixedRatePlan {
  readonly perSecond: number
  readonly samples: number
  readonly milliseconds: number
}

/** Requests of 1 KiB at a fixed rate: one sample of each subject in turn; the first round is not counted. */
export async function measureAtFixedRate(subjects: readonly Subject[], plan: FixedRatePlan): Promise<FixedRateReport> {
  await using load = startWorker(new URL('./open-loop.ts', import.meta.url))
  const { perSecond, milliseconds } = plan
  const taken: Record<string, Punctuality[]> = Object.fromEntries(subjects.map(({ name }) => [name, []]))
  for (let round = -1; round < plan.samples; round += 1) {
    for (const { name, port, headers } of subjects) {
      load.worker.send({ port, headers, perSecond, milliseconds } satisfies FixedRate)
      const sample = await messageOf<Punctuality>(load.worker)
      if (round >= 0) taken[name]?.push(sample)
    }
  }
  const figures = Object.entries(taken).map(([name, samples]) => [name, figuresOf(samples)])
  return { perSecond, subjects: Object.fromEntries(figures) }
}

function figuresOf(samples: readonly Punctuality[]) {
  const figure = (key: keyof Punctuality) => figureOf(samples.map((sample) => sample[key] / 1000))
  return { p50: figure('p50Microseconds'), p99: figure('p99Microseconds') }
}

export function showFixedRate({ perSecond, subjects }: FixedRateReport): string {
  const rows = Object.entries(subjects).map(([name, { p50, p99 }]) => [name, showFigure(p50), showFigure(p99)])
  return showTable([[`1 KiB at ${perSecond} requests/s`, 'p50 ms', 'p99 ms'], ...rows])
}
