import type { ChildProcess } from 'node:child_process'
import { cpuSeconds, messageOf } from './processes.ts'
import type { Subject } from './subjects.ts'
import { type Counted, type Job, type WorkloadName, workloadOf } from './workloads.ts'

/** What one sample of one subject showed. */
export interface Sample {
  readonly perSecond: number
  readonly p50Milliseconds: number
  readonly p99Milliseconds: number
  /** Of the subject’s processes alone. */
  readonly cpuMicroseconds: number
  /** Of what it asks for every unit: a session check, Redis; 0 when it asks nothing. */
  readonly besideMicroseconds: number
}

export interface Plan {
  /** How often all subjects are started anew. */
  readonly starts: number
  /** Of each start. */
  readonly samples: number
  readonly milliseconds: number
  /** Requests that each subject answers before the first sample, so that its code is compiled. */
  readonly warmUp: number
}

const WARM_UP_ROUNDS_MAX = 15

/** Samples of each subject, by its name: one of each in turn, so that what slows the machine slows them all. */
export async function measure(
  load: ChildProcess,
  subjects: readonly Subject[],
  workload: WorkloadName,
  { samples, milliseconds, warmUp }: Omit<Plan, 'starts'>,
): Promise<Record<string, Sample[]>> {
  const taken: Record<string, Sample[]> = Object.fromEntries(subjects.map(({ name }) => [name, []]))
  const { warmUpShare } = workloadOf(workload)
  for (const subject of subjects) await warm(load, subject, workload, warmUp * warmUpShare)
  for (let round = 0; round < samples; round += 1) {
    for (const subject of subjects) taken[subject.name]?.push(await sample(load, subject, workload, milliseconds))
  }
  return taken
}

/** Has a load generator do one job. @returns what it counted */
export function runJob(load: ChildProcess, job: Job): Promise<Counted> {
  load.send(job)
  return messageOf<Counted>(load)
}

function run(load: ChildProcess, { port, headers }: Subject, workload: WorkloadName, milliseconds: number) {
  return runJob(load, { workload, port, headers, milliseconds })
}

async function warm(load: ChildProcess, subject: Subject, workload: WorkloadName, warmUp: number): Promise<void> {
  let units = 0
  for (let round = 0; units < warmUp && round < WARM_UP_ROUNDS_MAX; round += 1)
    units += (await run(load, subject, workload, 1000)).units
}

async function sample(
  load: ChildProcess,
  subject: Subject,
  workload: WorkloadName,
  milliseconds: number,
): Promise<Sample> {
  const { pid, beside } = subject
  const before = cpuSeconds(pid)
  const besideBefore = beside ? cpuSeconds(beside) : 0
  const { units, seconds, p50Microseconds, p99Microseconds } = await run(load, subject, workload, milliseconds)
  return {
    perSecond: units / seconds,
    p50Milliseconds: p50Microseconds / 1000,
    p99Milliseconds: p99Microseconds / 1000,
    cpuMicroseconds: ((cpuSeconds(pid) - before) * 1e6) / units,
    besideMicroseconds: beside ? ((cpuSeconds(beside) - besideBefore) * 1e6) / units : 0,
  }
}
