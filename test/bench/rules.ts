import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { showNumber, showTable } from './figures.ts'
import { runJob } from './measure.ts'
import { startWorker } from './processes.ts'
import { startSubjects } from './subjects.ts'

const WARM_UP_MS = 4000

/** What a request passes, by where it is written down. The first that fits is meant. */
const PARTS: readonly (readonly [title: string, where: RegExp])[] = [
  ['address: method, path, host, client', /\/(proxy\/target|http\/(server|places|client))\.js$/],
  ['session of the cookie', /\/(http\/authenticate|sessions\/(cookie|sessions?|session-cache)|store\/recent)\.js$/],
  [
    'permission of the share, same origin',
    /\/(shares\/permissions|http\/cross-site|apps\/generic\/(access|generic))\.js$/,
  ],
  ['who the user is, for the app', /\/apps\/generic\/identity\.js$/],
  ['headers for the app', /\/(proxy\/request-headers|apps\/headers)\.js$/],
  ['headers for the browser', /\/proxy\/response-headers\.js$/],
  ['to be cut with the session; bytes counted', /\/sessions\/(live-connections|traffic)\.js$/],
  ['metrics', /\/(core\/events|admin\/[^/]+)\.js$|prom-client/],
  ['forwarding: one step after the other', /\/\.cache\/bench\//],
  ['undici', /\/node_modules\/undici\/|^wasm:/],
  ['Node’s HTTP server, sockets and timers', /^node:/],
  ['garbage collection', /^\(garbage collector\)$/],
  ['the system, and native code that no script called', /^\(program\)$/],
]
const ELSEWHERE = 'elsewhere'

/** What a request costs the gateway, part by part. */
export interface RulesReport {
  /** CPU µs for each request, by what they are for, as a CPU profile saw it. */
  readonly parts: Readonly<Record<string, number>>
}

interface ProfileNode {
  readonly id: number
  readonly callFrame: { readonly functionName: string; readonly url: string }
  readonly children?: readonly number[]
}

/** As `--cpu-prof` writes it. Times are microseconds of the monotonic clock. */
interface Profile {
  readonly nodes: readonly ProfileNode[]
  readonly startTime: number
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/** A CPU profile of the gateway under requests of 1 KiB, summed up by the rooms of the house. Profiling slows it. */
export async function measureRules({ milliseconds }: { milliseconds: number }): Promise<RulesReport> {
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-rules-'))
  await using opened = new AsyncDisposableStack()
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const { from, to, units } = await profileInto(folder, milliseconds)
  const [file = ''] = await readdir(folder)
  const profile = JSON.parse(await readFile(join(folder, file), 'utf8')) as Profile
  return { parts: partsOf(profile, { from, to, units }) }
}

interface Window {
  /** Microseconds of the monotonic clock. */
  readonly from: number
  readonly to: number
  readonly units: number
}

async function profileInto(folder: string, milliseconds: number): Promise<Window> {
  const gatewayFlags = ['--cpu-prof', `--cpu-prof-dir=${folder}`]
  const { subjects, resources } = await startSubjects({ names: ['gateway'], gatewayFlags }, () => {})
  await using _ = resources
  await using load = startWorker(new URL('./load.ts', import.meta.url))
  const [subject] = subjects
  if (subject === undefined) throw new Error('the gateway did not start')
  const { port, headers } = subject
  const run = (duration: number) => runJob(load.worker, { workload: '1k', port, headers, milliseconds: duration })
  await run(WARM_UP_MS)
  // The clock of hrtime is the one of the profile.
  const now = () => Number(process.hrtime.bigint() / 1000n)
  const from = now()
  const { units } = await run(milliseconds)
  return { from, to: now(), units }
}

/** @returns microseconds per unit, in the order of the parts */
export function partsOf({ nodes, startTime, samples, timeDeltas }: Profile, { from, to, units }: Window) {
  const parts = partOfEach(nodes)
  const sums = new Map<string, number>(PARTS.map(([title]) => [title, 0]))
  let at = startTime
  for (const [index, id] of samples.entries()) {
    at += timeDeltas[index] ?? 0
    const part = parts.get(id)
    if (part === undefined || at < from || at > to) continue
    // A sample stands for the time until the next one.
    sums.set(part, (sums.get(part) ?? 0) + (timeDeltas[index + 1] ?? 0))
  }
  return Object.fromEntries([...sums].filter(([, sum]) => sum > 0).map(([part, sum]) => [part, sum / units]))
}

/** A function of the engine, which has no place, belongs to who called it. @returns nothing for the idle process */
function partOfEach(nodes: readonly ProfileNode[]): Map<number, string> {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const parts = new Map<number, string>()
  const descend = ({ id, callFrame: { functionName, url }, children = [] }: ProfileNode, caller: string): void => {
    const own = PARTS.find(([, where]) => where.test(url === '' ? functionName : url))?.[0]
    const part = own ?? (url === '' ? caller : ELSEWHERE)
    if (functionName !== '(idle)') parts.set(id, part)
    for (const child of children) {
      const node = byId.get(child)
      if (node !== undefined) descend(node, part)
    }
  }
  const [root] = nodes
  if (root !== undefined) descend(root, ELSEWHERE)
  return parts
}

export function rulesRows({ parts }: RulesReport): string[][] {
  const all = Object.values(parts).reduce((sum, each) => sum + each, 0)
  const row = (title: string, value: number) => [title, showNumber(value), `${((100 * value) / all).toFixed(1)} %`]
  const rows = Object.entries(parts).map(([title, value]) => row(title, value))
  return [['', 'µs per request', 'of all'], ...rows, row('all', all)]
}

export const showRules = (report: RulesReport): string => showTable(rulesRows(report))
