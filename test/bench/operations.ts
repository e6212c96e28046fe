import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { type Figure, figureOf, quantileOf, showFigure, showTable } from './figures.ts'
import { type Gateway, startGateway } from './gateway.ts'
import { cpuSeconds, messageOf, startWorker } from './processes.ts'
import { APP_BASE, type Headers } from './workloads.ts'

const AT_ONCE = 8
const SOCKETS = 2

interface OperationsPlan {
  readonly rounds: number
  /** Launches, and provisionings, of one round. */
  readonly each: number
  readonly revocations: number
}

/** Of one kind of request to the gateway itself. */
export interface Operation {
  readonly perSecond: Figure
  /** Of the gateway’s process. */
  readonly cpuMicroseconds: Figure
}

/** Milliseconds. */
export interface Revocation {
  /** From the request to its answer. */
  readonly answer: number
  /** From the answer to the last socket closed; negative: before it. */
  readonly cut: number
}

/** Milliseconds, of many revocations. */
export type RevocationReport = Readonly<Record<keyof Revocation, { readonly p50: number; readonly p99: number }>>

export interface OperationsReport {
  readonly launch: Operation
  readonly provisioning: Operation
  readonly revocation: RevocationReport
}

/** What the gateway’s own endpoints cost: tokens are ES256, shares are pushed in signed requests, the store is SQLite. */
export async function measureOperations({ rounds, each, revocations }: OperationsPlan): Promise<OperationsReport> {
  await using opened = new AsyncDisposableStack()
  const app = opened.use(startWorker(new URL('./upstream-app.ts', import.meta.url)))
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-operations-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const gateway = opened.use(await startGateway({ appPort: await messageOf<number>(app.worker), folder }))
  const taken = []
  // The first round compiles the code.
  for (let round = -1; round < rounds; round += 1) {
    const sample = await sampleOf(gateway, each)
    if (round >= 0) taken.push(sample)
  }
  const revoked: Revocation[] = []
  for (let round = 0; round < revocations; round += 1) revoked.push(await revokeOne(gateway))
  return {
    launch: operationOf(taken.map(({ launch }) => launch)),
    provisioning: operationOf(taken.map(({ provisioning }) => provisioning)),
    revocation: reportOf(revoked),
  }
}

async function sampleOf(gateway: Gateway, each: number) {
  const { alice, pid } = gateway
  const made: Awaited<ReturnType<typeof gateway.prepare>>[] = []
  const provisioning = await costOf(pid, each, async () => void made.push(await gateway.prepare()))
  const forms = await Promise.all(made.map(async (share) => ({ share, token: await alice.mintToken({ share }) })))
  const launch = await costOf(pid, each, async (index) => {
    const form = forms[index]
    if (form) await gateway.launch(form.share, form.token)
  })
  return { provisioning, launch }
}

interface Cost {
  readonly perSecond: number
  readonly cpuMicroseconds: number
}

/** Several at once, as fast as they are answered. */
async function costOf(pid: number, count: number, work: (index: number) => Promise<void>): Promise<Cost> {
  const [cpu, startedAt] = [cpuSeconds(pid), performance.now()]
  let next = 0
  const oneAfterTheOther = async () => {
    while (next < count) {
      next += 1
      await work(next - 1)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, oneAfterTheOther))
  const seconds = (performance.now() - startedAt) / 1000
  return { perSecond: count / seconds, cpuMicroseconds: ((cpuSeconds(pid) - cpu) * 1e6) / count }
}

function operationOf(costs: readonly Cost[]): Operation {
  const figure = (key: keyof Cost) => figureOf(costs.map((cost) => cost[key]))
  return { perSecond: figure('perSecond'), cpuMicroseconds: figure('cpuMicroseconds') }
}

async function revokeOne(gateway: Gateway): Promise<Revocation> {
  const { providerId, headers } = await gateway.open()
  const closed = await Promise.all(Array.from({ length: SOCKETS }, () => openWebSocket(gateway.port, headers)))
  const cut = Promise.all(closed.map((each) => each()))
  const startedAt = performance.now()
  const { status } = await gateway.alice.revoke({ sender: gateway.alice.address, providerId })
  const answeredAt = performance.now()
  if (status !== 200) throw new Error(`a revocation was answered ${status}`)
  return { answer: answeredAt - startedAt, cut: Math.max(...(await cut)) - answeredAt }
}

/** @returns when it is closed, in milliseconds of `performance.now` */
async function openWebSocket(port: number, headers: Headers): Promise<() => Promise<number>> {
  const origin = `http://${headers.Host}`
  const socket = new WebSocket(`ws://127.0.0.1:${port}${APP_BASE}echo`, { headers, origin })
  socket.on('error', () => socket.terminate())
  const closed = new Promise<number>((resolve) => socket.once('close', () => resolve(performance.now())))
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    void closed.then(() => reject(new Error('a WebSocket was refused')))
  })
  return () => closed
}

export function reportOf(revoked: readonly Revocation[]): RevocationReport {
  const quantiles = (what: keyof Revocation) => {
    const all = revoked.map((each) => each[what])
    return { p50: quantileOf(all, 0.5), p99: quantileOf(all, 0.99) }
  }
  return { answer: quantiles('answer'), cut: quantiles('cut') }
}

export function showOperations({ launch, provisioning, revocation }: OperationsReport): string {
  const row = (title: string, { perSecond, cpuMicroseconds }: Operation) => [
    title,
    showFigure(perSecond),
    showFigure(cpuMicroseconds),
  ]
  const head = ['', 'per second', 'CPU µs each']
  const costs = showTable([head, row('launch (ES256)', launch), row('provisioning', provisioning)])
  return `${costs}\n\n${showRevocation('one gateway, SQLite', revocation)}`
}

export function showRevocation(title: string, { answer, cut }: RevocationReport): string {
  const row = (what: string, { p50, p99 }: typeof answer) => [what, p50.toFixed(1), p99.toFixed(1)]
  const head = [`revocation, ${title}: ms`, 'p50', 'p99']
  return showTable([head, row('request to answer', answer), row('answer to last socket closed', cut)])
}
