import { loadavg } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { openWebSocket, send } from '../flow/harness.ts'
import { type Replicas, startReplicas } from '../flow/replicas.ts'
import { quantileOf, showTable } from './figures.ts'
import type { Revocation } from './operations.ts'

const REPLICAS = 3
const REVOKES = { usual: 1000, quick: 100 }
/** At each of the other gateways. */
const SOCKETS = 2
const VISITORS = 4
const VISIT_MS = 25

/**
 * Revokes shares one after the other, through one of three gateways over one Redis, each with WebSockets open at the others,
 * while people go on asking for pages at all of them: how long the sender waits, and how long the sockets outlive its answer.
 */
export async function revokeAcrossReplicas(revokes: number): Promise<{ taken: Revocation[]; visits: number }> {
  const scene = await startReplicas(({ port }) => Array(REPLICAS).fill(port))
  try {
    const load = await startLoad(scene)
    const taken: Revocation[] = []
    for (let round = 0; round < revokes; round += 1) taken.push(await revokeOne(scene, round))
    return { taken, visits: await load.stop() }
  } finally {
    await scene.close()
  }
}

/** The same as a table. */
export async function measureReplicas({ quick }: { quick: boolean }, say: (line: string) => void): Promise<void> {
  const revokes = REVOKES[quick ? 'quick' : 'usual']
  const { taken, visits } = await revokeAcrossReplicas(revokes)
  say(
    `${revokes} revokes, ${SOCKETS} WebSockets each at the two other gateways, ${visits} requests meanwhile; ` +
      `load average ${loadavg()[0]?.toFixed(1)}; milliseconds\n`,
  )
  say(
    showTable([
      ['', 'p50', 'p90', 'p99', 'max'],
      row('request to answer', taken, 'answer'),
      row('answer to last cut', taken, 'cut'),
    ]),
  )
}

/** People whose shares are not revoked. */
async function startLoad({ replicas, open }: Replicas) {
  let going = true
  let visits = 0
  const visiting = Array.from({ length: VISITORS }, async (_, visitor) => {
    const at = replicas[visitor % replicas.length] as (typeof replicas)[number]
    const { cookie } = await open(at)
    while (going) {
      const { status } = await send(at, '/notes/page', { headers: { cookie } })
      if (status !== 200) throw new Error(`a request was answered ${status}`)
      visits += 1
      await pause(VISIT_MS)
    }
  })
  return {
    /** @returns how many requests were answered */
    async stop(): Promise<number> {
      going = false
      await Promise.all(visiting)
      return visits
    },
  }
}

async function revokeOne({ replicas, open, revoke }: Replicas, round: number): Promise<Revocation> {
  const here = replicas[round % replicas.length] as (typeof replicas)[number]
  const others = replicas.filter((replica) => replica !== here)
  const opened = await open(here)
  const lives = await Promise.all(
    others.flatMap((there) => Array.from({ length: SOCKETS }, () => openWebSocket(there, '/notes/live', opened))),
  )
  const cut = Promise.all(lives.map(async ({ closed }) => closed.then(() => performance.now())))
  const startedAt = performance.now()
  const status = await revoke(here, opened.share)
  const answeredAt = performance.now()
  if (status !== 200) throw new Error(`a revocation was answered ${status}`)
  return { answer: answeredAt - startedAt, cut: Math.max(...(await cut)) - answeredAt }
}

function row(title: string, taken: readonly Revocation[], what: keyof Revocation): string[] {
  const samples = taken.map((each) => each[what])
  return [title, ...[0.5, 0.9, 0.99, 1].map((share) => quantileOf(samples, share).toFixed(1))]
}
