import { describe, expect, it } from 'vitest'
import type { SessionsConfig } from '../../../src/config/schema.ts'
import { createLiveConnections } from '../../../src/sessions/live-connections.ts'
import { createSessions } from '../../../src/sessions/sessions.ts'
import { createListeners } from '../../../src/store/local.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { createClock, createToldEvents, grantOf } from '../fixtures.ts'

const HOUR = 3600
const CONFIG: SessionsConfig = { maxAge: 8 * HOUR, idleTimeout: HOUR, boundTo: 'share', cookiePrefix: '__Secure-ocm' }

/** A process whose bus can be cut off: `deaf` while it hears nothing, `lost` when it may have missed something. */
async function setUp() {
  const clock = createClock()
  const memory = createMemoryStore({ now: clock.now })
  const { tell, subscribe } = createListeners()
  let hears = true
  const settled: (() => void)[] = []
  const store = {
    ...memory,
    bus: { hearing: () => hears, settled: () => new Promise<void>((resolve) => settled.push(resolve)), subscribe },
  }
  const live = createLiveConnections()
  const { events } = createToldEvents()
  const sessions = createSessions({ store, live, now: clock.now, events }, () => CONFIG)
  const { session } = await sessions.open({
    grant: grantOf({ permissions: ['read', 'write'] }),
    webapp: 'notes',
    scope: '/notes/',
    returnUri: undefined,
    framed: false,
    frameAncestors: [],
    suffix: '',
    presented: [],
    limit: 100,
  })
  await sessions.find(session.idHash)
  const cut: string[] = []
  live.add(session.idHash, () => cut.push('all'), ['read', 'write'])
  live.add(session.idHash, () => cut.push('reading'), ['read'])
  return {
    ...{ clock, sessions, session, cut, known: () => sessions.known(session.idHash) !== undefined },
    settled,
    hearAgain: () => {
      hears = true
    },
    deafen: (missed: boolean) => {
      hears = false
      if (missed) tell({ type: 'missed' })
    },
    /** What another process does. */
    elsewhere: {
      end: () => {
        const ended = { state: 'ended', idHash: session.idHash, webapp: 'notes', reason: 'revoked' } as const
        return memory.sessions.end({ ...ended, endedAt: clock.now(), data: '{}' }, { keepUntil: clock.now() + HOUR })
      },
      async narrow() {
        const row = await memory.sessions.get(session.idHash)
        if (row?.state !== 'live') throw new Error('it lives')
        const { grant, ...rest } = JSON.parse(row.data)
        const data = JSON.stringify({ ...rest, grant: { ...grant, permissions: ['read'] } })
        await memory.sessions.update({ ...row, data }, row.data)
      },
    },
  }
}

describe('a process that hears nothing of what others do', () => {
  it('believes nothing that it knows, and all of it again when nothing was missed', async () => {
    const { known, deafen, hearAgain } = await setUp()
    expect(known()).toBe(true)
    deafen(false)
    expect(known()).toBe(false)
    hearAgain()
    expect(known()).toBe(true)
  })

  it('does not believe later what it read meanwhile', async () => {
    const { known, deafen, hearAgain, sessions, session } = await setUp()
    deafen(true)
    await sessions.find(session.idHash)
    hearAgain()
    expect(known()).toBe(false)
  })

  it('cuts the connections of what ended meanwhile as soon as it hears again', async () => {
    const { deafen, hearAgain, elsewhere, sessions, cut } = await setUp()
    deafen(true)
    await elsewhere.end()
    await sessions.sweep()
    expect(cut).toEqual([])
    hearAgain()
    await sessions.sweep()
    expect(cut).toEqual(['all', 'reading'])
  })

  it('then cuts the connections that came in with more than is allowed now, and no others', async () => {
    const { deafen, hearAgain, elsewhere, sessions, cut } = await setUp()
    deafen(true)
    await elsewhere.narrow()
    hearAgain()
    await sessions.sweep()
    expect(cut).toEqual(['all'])
  })

  it('cuts all connections after a minute, because nobody knows whether their shares were revoked', async () => {
    const { deafen, clock, sessions, cut } = await setUp()
    await sessions.sweep()
    deafen(true)
    clock.advance(60)
    await sessions.sweep()
    expect(cut).toEqual([])
    clock.advance(1)
    await sessions.sweep()
    expect(cut).toEqual(['all', 'reading'])
  })
})

it('the end of a share is told only when everyone has heard what another process ended a moment ago', async () => {
  const { elsewhere, sessions, session, settled } = await setUp()
  await elsewhere.end()
  let told = false
  const ending = sessions.endShare(session.grant, 'revoked').then((count) => {
    told = true
    return count
  })
  await expect.poll(() => settled.length).toBe(1)
  expect(told).toBe(false)
  settled[0]?.()
  expect(await ending).toBe(0)
})
