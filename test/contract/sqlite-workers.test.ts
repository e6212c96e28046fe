import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createLine, type Line, type Port } from '../../src/core/line.ts'
import { openStore } from '../../src/store/open.ts'
import { createPrimaryBus } from '../../src/store/primary-bus.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { holdDatabase } from '../../src/store/sqlite-database.ts'
import type { Store } from '../../src/store/store.ts'
import { START, storeContract } from './store.ts'

const KEY = { senderDomain: 'cloud.example.org', shareId: '42' }
const SESSION = { ...KEY, state: 'live', idHash: 'hash-1', webapp: 'notes', deadline: START + 60, data: '{}' } as const
const ENDED = { state: 'ended', idHash: 'hash-1', webapp: 'notes', reason: 'x', endedAt: START, data: '{}' } as const
const ROOM = { limit: 100 }
const REMAINDER = { keepUntil: START + 60 }

/** A file, the process that keeps it (this one), and what it has for its workers. */
function keepFile() {
  const folder = mkdtempSync(join(tmpdir(), 'workers-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'gateway.db')
  const hold = holdDatabase(file)
  onTestFinished(() => hold[Symbol.dispose]())
  return { file, hold, bus: createPrimaryBus() }
}

type Kept = ReturnType<typeof keepFile>

/** A worker in a process of its own. */
async function forkWorker({ file, bus }: Kept) {
  const child: ChildProcess = fork(join(import.meta.dirname, 'worker-child.ts'), [file], { serialization: 'advanced' })
  onTestFinished(() => void child.kill('SIGKILL'))
  const line = createLine({
    send: (message) => void child.send(message, () => {}),
    receive: (listener) => void child.on('message', listener),
  })
  bus.serve(line)
  const ended = once(child, 'exit').then(() => bus.leave(line))
  await new Promise<void>((resolve) => line.handle({ opened: () => resolve() }))
  return {
    run: <Answer>(operation: string, ...args: unknown[]) => line.ask<Answer>('run', { operation, args }),
    heard: () => line.ask<string[]>('heard'),
    ask: line.ask,
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
    stop: () => child.kill('SIGSTOP'),
    go: () => child.kill('SIGCONT'),
  }
}

/** A worker in this process: its messages are copied, and arrive later. */
async function openHere({ file, bus }: Kept, now: () => number): Promise<Store> {
  const ends: ((message: unknown) => void)[] = []
  const port = (own: 0 | 1): Port => ({
    send: (message) => void setImmediate((copy) => ends[1 - own]?.(copy), structuredClone(message)),
    receive(listener) {
      ends[own] = listener
    },
  })
  const [near, far]: [Line, Line] = [createLine(port(0)), createLine(port(1))]
  bus.serve(near)
  return openStore({ kind: 'sqlite', file }, { now, primary: far })
}

storeContract('sqlite, one of two workers', async () => {
  const kept = keepFile()
  let time = START
  const now = () => time
  const other = await openHere(kept, now)
  onTestFinished(() => other.close())
  return {
    store: await openHere(kept, now),
    now,
    async advance(seconds) {
      time += seconds
    },
  }
})

describe('workers on one SQLite file', () => {
  it('have all heard of what ends or changes when it resolves, and of nothing else', async () => {
    const kept = keepFile()
    const [here, there, beside] = await Promise.all([forkWorker(kept), forkWorker(kept), forkWorker(kept)])
    for (let round = 0; round < 50; round += 1) {
      const idHash = `hash-${round}`
      await here.run('sessions.open', { ...SESSION, idHash }, ROOM)
      await here.run('sessions.update', { ...SESSION, idHash, data: 'changed' }, '{}')
      for (const each of [there, beside]) expect(await each.heard()).toEqual(['session.changed'])
      await here.run('sessions.end', { ...ENDED, idHash }, REMAINDER)
      for (const each of [there, beside]) expect(await each.heard()).toEqual(['session.ended'])
      await here.run('workloads.put', { ...KEY, webapp: 'notebooks', name: 'server-1', data: '{}' })
      for (const each of [there, beside]) expect(await each.heard()).toEqual(['workload.changed'])
      await here.run('workloads.delete', 'notebooks', 'server-1')
      for (const each of [there, beside]) expect(await each.heard()).toEqual(['workload.changed'])
    }
  })

  it('end a session once, though all try at the same time', async () => {
    const kept = keepFile()
    const workers = await Promise.all([forkWorker(kept), forkWorker(kept), forkWorker(kept)])
    for (let round = 0; round < 20; round += 1) {
      const idHash = `hash-${round}`
      await workers[0].run('sessions.open', { ...SESSION, idHash }, ROOM)
      const ends = await Promise.all(workers.map((each) => each.run('sessions.end', { ...ENDED, idHash }, REMAINDER)))
      expect(ends.filter((row) => row !== undefined)).toHaveLength(1)
    }
  })

  it('wait for one that hangs, until it has heard', async () => {
    const kept = keepFile()
    const [here, there] = await Promise.all([forkWorker(kept), forkWorker(kept)])
    await here.run('sessions.open', SESSION, ROOM)
    there.stop()
    let told = false
    const telling = here.run('sessions.end', ENDED, REMAINDER).then(() => {
      told = true
    })
    await expect.poll(async () => (await here.run<{ state: string }>('sessions.get', 'hash-1')).state).toBe('ended')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(told).toBe(false)
    there.go()
    await telling
    expect(await there.heard()).toEqual(['session.ended'])
  })

  it('wait no longer for one that is killed; the others then believe nothing that they keep', async () => {
    const kept = keepFile()
    const [here, there, beside] = await Promise.all([forkWorker(kept), forkWorker(kept), forkWorker(kept)])
    await here.run('sessions.open', SESSION, ROOM)
    there.stop()
    const telling = here.run('sessions.end', ENDED, REMAINDER)
    await there.kill()
    await telling
    expect((await beside.heard()).toSorted()).toEqual(['missed', 'session.ended'])
  })

  it('are settled only when what another one wrote has been heard', async () => {
    const kept = keepFile()
    const [here, there, slow] = await Promise.all([forkWorker(kept), forkWorker(kept), forkWorker(kept)])
    await here.run('sessions.open', SESSION, ROOM)
    slow.stop()
    const telling = here.run('sessions.end', ENDED, REMAINDER)
    await expect.poll(async () => (await there.run<{ state: string }>('sessions.get', 'hash-1')).state).toBe('ended')
    let settled = false
    const settling = there.run('bus.settled').then(() => {
      settled = true
    })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(settled).toBe(false)
    slow.go()
    await settling
    expect(await slow.heard()).toEqual(['session.ended'])
    await telling
  })

  it('are not settled before everyone knows that one died between what it wrote and what it told', async () => {
    const kept = keepFile()
    const [dying, here, there] = await Promise.all([forkWorker(kept), forkWorker(kept), forkWorker(kept)])
    await dying.run('sessions.open', SESSION, ROOM)
    await dying.ask('dieTelling')
    dying.run('sessions.end', ENDED, REMAINDER).catch(() => {})
    await expect.poll(async () => (await here.run<{ state: string }>('sessions.get', 'hash-1')).state).toBe('ended')
    let settled = false
    const settling = here.run('bus.settled').then(() => {
      settled = true
    })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect([settled, await there.heard()]).toEqual([false, []])
    await dying.kill()
    await settling
    expect(await there.heard()).toEqual(['missed'])
  })

  it('write in turns, so that no write fails because another one goes on', async () => {
    const kept = keepFile()
    const workers = await Promise.all([forkWorker(kept), forkWorker(kept), forkWorker(kept)])
    const put = (worker: (typeof workers)[number], name: string) =>
      worker.run('notes.put', { space: 'many', id: name, data: 'x'.repeat(1000), expiresAt: undefined })
    await Promise.all(
      workers.flatMap((worker, index) => Array.from({ length: 100 }, (_, nth) => put(worker, `${index} ${nth}`))),
    )
    expect(await workers[0].run('notes.list', 'many', '', 1000)).toHaveLength(300)
  })

  it('have the turn of one that died with it', async () => {
    const kept = keepFile()
    const [dying, here] = await Promise.all([forkWorker(kept), forkWorker(kept)])
    await here.run('sessions.open', SESSION, ROOM)
    await dying.ask('dieTelling')
    dying.run('sessions.end', ENDED, REMAINDER).catch(() => {})
    await expect.poll(async () => (await here.run<{ state: string }>('sessions.get', 'hash-1')).state).toBe('ended')
    let written = false
    const writing = here.run('sessions.open', { ...SESSION, idHash: 'hash-2' }, ROOM).then(() => {
      written = true
    })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(written).toBe(false)
    await dying.kill()
    await writing
  })

  it('hear of an operator’s command within a moment, and do not take each other’s writes for one', async () => {
    const kept = keepFile()
    const [here, there] = await Promise.all([forkWorker(kept), forkWorker(kept)])
    for (let round = 0; round < 20; round += 1) {
      await here.run('sessions.open', { ...SESSION, idHash: `hash-${round}` }, ROOM)
      await here.ask('hang', 20)
    }
    expect(await there.heard()).toEqual([])
    const operator = openSqliteStore(kept.file, { now: () => START, beside: 'writing' })
    onTestFinished(() => operator.close())
    for (let round = 1; round < 3; round += 1) {
      await operator.sessions.end({ ...ENDED, idHash: `hash-${round}` }, REMAINDER)
      for (const each of [here, there]) await expect.poll(() => each.heard(), { timeout: 2000 }).toEqual(['missed'])
    }
  })
})

describe('the locks of workers', () => {
  it('are held by one of them at a time, and a holder that dies frees its own', async () => {
    const kept = keepFile()
    const [first, second, third] = await Promise.all([forkWorker(kept), forkWorker(kept), forkWorker(kept)])
    await first.ask('hold', 'one')
    const order: string[] = []
    const waits = second.ask('hold', 'one').then(
      () => order.push('second'),
      () => order.push('second died'),
    )
    const held = third.ask('hold', 'one').then(() => order.push('third'))
    await third.ask('hold', 'another')
    expect(order).toEqual([])
    // Who waits and dies stands in nobody’s way.
    await second.kill()
    await waits
    expect(order).toEqual(['second died'])
    await first.kill()
    await held
    expect(order).toEqual(['second died', 'third'])
    await third.ask('release')
  })
})

describe('a SQLite file that was kept for workers', () => {
  it('is refused to others while one of them lives, and free when the last has gone', async () => {
    const kept = keepFile()
    const worker = await forkWorker(kept)
    expect(() => openSqliteStore(kept.file, { now: () => START })).toThrow(/another gateway uses it/)
    expect(() => holdDatabase(kept.file)).toThrow(/another gateway uses it/)
    kept.hold[Symbol.dispose]()
    expect(() => openSqliteStore(kept.file, { now: () => START })).toThrow(/another gateway uses it/)
    await worker.kill()
    await openSqliteStore(kept.file, { now: () => START }).close()
  })
})
