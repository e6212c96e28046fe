import { describe, expect, it } from 'vitest'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { createRecentWorkloads } from '../../../src/store/recent-workloads.ts'
import type { BusMessage, Workload } from '../../../src/store/store.ts'
import { createClock } from '../fixtures.ts'

const WORKLOAD: Workload = {
  webapp: 'notebooks',
  name: 'server-1',
  senderDomain: 'cloud.example.org',
  shareId: '42',
  data: '1',
}

/** A store that counts how often it is asked, and a bus that can fall silent. */
async function setUp() {
  const clock = createClock()
  const { workloads, bus } = createMemoryStore({ now: clock.now })
  const state = { asked: 0, hearing: true }
  const listeners: ((message: BusMessage) => void)[] = []
  const get: typeof workloads.get = async (...key) => {
    state.asked += 1
    return structuredClone(await workloads.get(...key))
  }
  const subscribe: typeof bus.subscribe = (listener) => {
    listeners.push(listener)
    return bus.subscribe(listener)
  }
  const store = { workloads: { ...workloads, get }, bus: { ...bus, subscribe, hearing: () => state.hearing } }
  await workloads.put(WORKLOAD)
  return {
    clock,
    state,
    workloads,
    tell: (message: BusMessage) => listeners.forEach((listener) => void listener(message)),
    recent: createRecentWorkloads(store, clock.now),
  }
}

const find = ({ recent }: Awaited<ReturnType<typeof setUp>>) => recent('notebooks', 'server-1')

describe('a workload that was read', () => {
  it('is the same object at once, and nobody is asked', async () => {
    const all = await setUp()
    const first = await find(all)
    expect(first).toEqual(WORKLOAD)
    expect([find(all), all.state.asked]).toEqual([first, 1])
    expect(find(all)).toBe(first)
  })

  it('is what it became, from the moment on that it changed', async () => {
    const all = await setUp()
    await find(all)
    await all.workloads.put({ ...WORKLOAD, data: '2' })
    expect(await find(all)).toMatchObject({ data: '2' })
    await all.workloads.delete('notebooks', 'server-1')
    expect(await find(all)).toBeUndefined()
  })

  it('is found as soon as there is one', async () => {
    const all = await setUp()
    await all.workloads.delete('notebooks', 'server-1')
    expect(await find(all)).toBeUndefined()
    await all.workloads.put(WORKLOAD)
    expect(await find(all)).toEqual(WORKLOAD)
  })

  it.each([{ webapp: 'other' }, { name: 'server-2' }])(
    'is known whatever becomes of another one (%j)',
    async (other) => {
      const all = await setUp()
      const first = await find(all)
      await all.workloads.put({ ...WORKLOAD, ...other, data: '2' })
      expect(find(all)).toBe(first)
      expect(await all.recent('notebooks', 'server-2')).toEqual(
        'name' in other ? { ...WORKLOAD, ...other, data: '2' } : undefined,
      )
    },
  )

  it('is read again when messages were missed, and after a minute', async () => {
    const all = await setUp()
    await find(all)
    all.tell({ type: 'missed' })
    await find(all)
    expect(all.state.asked).toBe(2)
    all.clock.advance(60)
    await find(all)
    expect(all.state.asked).toBe(3)
  })

  it('is read each time while this process does not hear', async () => {
    const all = await setUp()
    await find(all)
    all.state.hearing = false
    await find(all)
    await find(all)
    expect(all.state.asked).toBe(3)
  })

  it('is read again when it changed while it was read', async () => {
    const all = await setUp()
    const reading = find(all)
    await all.workloads.put({ ...WORKLOAD, data: '2' })
    expect(await reading).toMatchObject({ data: '2' })
    expect(all.state.asked).toBe(2)
  })
})
