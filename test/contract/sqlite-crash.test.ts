import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { systemClock } from '../../src/core/time.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { ShareStore } from '../../src/store/store.ts'

const KILLS_PER_FILE = 120
const SENDER_DOMAIN = 'cloud.example.org'
/** What each operation of the child on a share leaves. */
const STATES = ['live', 'live', 'revoked', 'live']

/** The last operation on a share that the child acknowledged. */
interface Acknowledged {
  readonly shareId: string
  /** Counts the operations on the share, from 0. */
  readonly created: number
  /** Whether the next one may have been applied without being acknowledged. */
  readonly cutShort: boolean
}

/** Reproducible random numbers from 0 to 1 (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Kills with SIGKILL: every fourth child at any time since its start, the others while they write. */
async function killAtRandom(child: ChildProcess, random: () => number) {
  if (random() < 0.25) await sleep(random() * 120)
  else {
    await once(child.stdout as NodeJS.ReadableStream, 'readable')
    await sleep(random() * 25)
  }
  child.kill('SIGKILL')
}

/** Runs one child until its violent end. A line that the kill cut short acknowledges nothing. */
async function acknowledgedByOneChild(file: string, run: string, random: () => number): Promise<Acknowledged[]> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'crash-child.ts'), file, run], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const closed = once(child, 'close')
  const [chunks] = await Promise.all([child.stdout.setEncoding('utf8').toArray(), killAtRandom(child, random)])
  expect(await closed).toEqual([null, 'SIGKILL'])
  const operations = new Map<string, number>()
  for (const line of chunks.join('').split('\n').slice(0, -1)) {
    const [, shareId = '', created] = /^(?:stored|replaced|revoked) (\S+) (\d)$/.exec(line) ?? []
    expect(created, `the child reports: ${line}`).toBeDefined()
    operations.set(shareId, Number(created))
  }
  const last = [...operations.keys()].at(-1)
  return [...operations].map(([shareId, created]) => ({ shareId, created, cutShort: shareId === last }))
}

async function expectKept(shares: ShareStore, { shareId, created, cutShort }: Acknowledged) {
  const row = await shares.get({ senderDomain: SENDER_DOMAIN, shareId })
  const kept: number = row?.state === 'live' ? JSON.parse(row.data).created : row?.revokedAt
  expect(cutShort ? [created, created + 1] : [created], `operations kept of ${shareId}`).toContain(kept)
  expect(row?.state, `state of ${shareId}`).toBe(STATES[kept])
}

/** Replays the provisioning that was captured first. */
async function replay(shares: ShareStore, shareId: string) {
  const row = { state: 'live', instance: 'replayed', created: 0, expiresAt: undefined, data: '{}' } as const
  const captured = { created: 0, signature: 'put 0' }
  return await shares.put({ senderDomain: SENDER_DOMAIN, shareId, ...row }, captured, { limit: 1e9 })
}

async function killRepeatedly(file: string, seed: number): Promise<Acknowledged[]> {
  const random = createRandom(seed)
  const all: Acknowledged[] = []
  for (let run = 0; run < KILLS_PER_FILE; run++) {
    const acknowledged = await acknowledgedByOneChild(file, `${run}`, random)
    const store = openSqliteStore(file, { now: systemClock })
    for (const share of acknowledged) await expectKept(store.shares, share)
    await store.close()
    all.push(...acknowledged)
  }
  return all
}

it.concurrent.for([1, 2])(
  'a store whose process is killed at any instant loses nothing that it acknowledged (file %i)',
  { timeout: 120_000 },
  async (seed, { onTestFinished }) => {
    const folder = mkdtempSync(join(tmpdir(), 'crash-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'gateway.db')
    const all = await killRepeatedly(file, seed)
    const revoked = all.filter(({ created }) => STATES[created] === 'revoked')
    expect(revoked, 'otherwise the test proves nothing').not.toHaveLength(0)

    const store = openSqliteStore(file, { now: systemClock })
    onTestFinished(() => store.close())
    for (const { shareId } of revoked) expect(await replay(store.shares, shareId)).toBe('superseded')
    for (const share of all) await expectKept(store.shares, share)
  },
)
