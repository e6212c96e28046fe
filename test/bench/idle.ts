import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { type Figure, figureOf, showFigure, showTable } from './figures.ts'
import type { Opening } from './idle-load.ts'
import { cpuSeconds, messageOf, residentBytes, startWorker } from './processes.ts'
import { type SubjectName, startSubjects } from './subjects.ts'

/** Open before anything is measured: their code is compiled by then, and the heap has the size it works with. */
const FIRST_SOCKETS = 1000
const SETTLE_MS = 2000
/** Of the file descriptors that a process may have, some are not sockets. */
const OTHER_DESCRIPTORS = 200

/** What one WebSocket that nobody uses costs a proxy. */
interface IdleSample {
  readonly kibibytes: number
  /** Of the process, when all are open. */
  readonly mebibytes: number
  /** CPU time for its handshake. */
  readonly openMicroseconds: number
}

export interface IdleReport {
  readonly sockets: number
  readonly subjects: Readonly<Record<string, Readonly<Record<keyof IdleSample, Figure>>>>
}

interface IdlePlan {
  readonly names: readonly SubjectName[]
  readonly sockets: number
  readonly rounds: number
}

/**
 * Resident memory and CPU time per idle WebSocket: of the proxy alone, which is started anew for every sample, and
 * between the time when it had a thousand of them and the time when it had so many more. At most as many as a process may
 * have file descriptors for.
 */
export async function measureIdle({ names, sockets: wished, rounds }: IdlePlan, say: (line: string) => void) {
  const sockets = Math.min(wished, socketsMax() - FIRST_SOCKETS)
  if (sockets < wished) say(`only ${sockets} idle WebSockets: a process may have ${descriptorsMax()} file descriptors`)
  const taken: Record<string, IdleSample[]> = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names) {
      const sample = await sampleOf(name, sockets, round === 0 ? say : () => {})
      if (sample) taken[name]?.push(sample)
    }
  }
  const measured = Object.entries(taken).filter(([, samples]) => samples.length > 0)
  const subjects = measured.map(([name, samples]) => [name, figuresOf(samples)])
  return { sockets, subjects: Object.fromEntries(subjects) } satisfies IdleReport
}

async function sampleOf(name: SubjectName, sockets: number, say: (line: string) => void) {
  const { subjects, resources } = await startSubjects({ names: [name] }, say)
  await using _ = resources
  await using load = startWorker(new URL('./idle-load.ts', import.meta.url))
  const [subject] = subjects
  if (subject === undefined) return undefined
  const { port, headers, pid } = subject
  const open = async (count: number) => {
    load.worker.send({ port, headers, count } satisfies Opening)
    return messageOf<number>(load.worker)
  }
  await open(FIRST_SOCKETS)
  await wait(SETTLE_MS)
  const [memory, cpu] = [residentBytes(pid), cpuSeconds(pid)]
  await open(sockets)
  const openMicroseconds = ((cpuSeconds(pid) - cpu) * 1e6) / sockets
  await wait(SETTLE_MS)
  const all = residentBytes(pid)
  return { kibibytes: (all - memory) / 2 ** 10 / sockets, mebibytes: all / 2 ** 20, openMicroseconds }
}

function figuresOf(samples: readonly IdleSample[]) {
  const figure = (key: keyof IdleSample) => figureOf(samples.map((sample) => sample[key]))
  return {
    kibibytes: figure('kibibytes'),
    mebibytes: figure('mebibytes'),
    openMicroseconds: figure('openMicroseconds'),
  }
}

/** Node asks for as many as it may have; each WebSocket has two ends in a proxy. */
const socketsMax = () => Math.floor((descriptorsMax() - OTHER_DESCRIPTORS) / 2)

function descriptorsMax(): number {
  const [, hard] = /^Max open files +\S+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
  return Number(hard ?? Infinity)
}

export function showIdle({ sockets, subjects }: IdleReport): string {
  const rows = Object.entries(subjects).map(([name, { kibibytes, mebibytes, openMicroseconds }]) => [
    name,
    ...[kibibytes, mebibytes, openMicroseconds].map(showFigure),
  ])
  return showTable([[`${sockets} idle WebSockets`, 'KiB each', 'MiB in all', 'CPU µs to open one'], ...rows])
}
