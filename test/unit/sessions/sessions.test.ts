import { describe, expect, it } from 'vitest'
import type { SessionsConfig } from '../../../src/config/schema.ts'
import { hashCookieValue } from '../../../src/sessions/cookie.ts'
import { createLiveConnections } from '../../../src/sessions/live-connections.ts'
import type { EndReason, Session } from '../../../src/sessions/session.ts'
import { createSessions, type Opening } from '../../../src/sessions/sessions.ts'
import type { Grant } from '../../../src/shares/grant.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import { createClock, createToldEvents, grantOf, outcomeOf, START, shareOf } from '../fixtures.ts'

const HOUR = 3600
const CONFIG: SessionsConfig = { maxAge: 8 * HOUR, idleTimeout: HOUR, boundTo: 'share', cookiePrefix: '__Secure-ocm' }
const RETURN_URI = 'https://nextcloud2.docker/apps/ocmremotewebapp/'

/** Sessions of one process; `another()` is a second process on the same store. */
function setUp(change: Partial<SessionsConfig> = {}) {
  const clock = createClock()
  const store = createMemoryStore({ now: clock.now })
  const process = () => {
    const live = createLiveConnections()
    const { events, told, names } = createToldEvents()
    const sessions = createSessions({ store, live, now: clock.now, events }, () => ({ ...CONFIG, ...change }))
    const ended: string[] = []
    sessions.onEnd(({ idHash }) => ended.push(idHash))
    return { live, told, names, sessions, ended }
  }
  const here = process()
  const open = (grant: Partial<Grant> = {}, opening: Partial<Opening> = {}) =>
    here.sessions.open({
      grant: grantOf(grant),
      webapp: 'notes',
      scope: '/notes/',
      returnUri: RETURN_URI,
      framed: true,
      frameAncestors: ['https://nextcloud2.docker'],
      suffix: '',
      presented: [],
      limit: 100,
      ...opening,
    })
  const find = async ({ idHash }: Session) => {
    const found = await here.sessions.find(idHash)
    if (found === undefined) return 'unknown'
    return 'grant' in found ? 'live' : found.reason
  }
  return { ...here, clock, store, open, find, another: process }
}

describe('a launch', () => {
  it('opens a session under a fresh cookie value, of which only the hash is kept', async () => {
    const { open, sessions, store } = setUp()
    const { session, cookieValue } = await open()
    expect(session.idHash).toBe(hashCookieValue(cookieValue ?? ''))
    expect(await sessions.find(session.idHash)).toEqual(session)
    expect(session).toMatchObject({ openedAt: START, expiresAt: START + 8 * HOUR, deadline: START + HOUR })
    expect(JSON.stringify(await store.sessions.get(session.idHash))).not.toContain(cookieValue)
    expect(session).not.toHaveProperty('presented')
  })

  it('makes room among a person’s own sessions: the 51st ends the oldest, and nobody else’s', async () => {
    const { open, find, clock } = setUp()
    const first = await open()
    const other = await open({ user: 'eve@nextcloud2.docker' })
    for (let index = 0; index < 49; index++) {
      clock.advance(1)
      await open()
    }
    expect(await find(first.session)).toBe('live')
    clock.advance(1)
    await open()
    expect([await find(first.session), await find(other.session)]).toEqual(['superseded', 'live'])
  })

  it('gives every browser its own session', async () => {
    const { open } = setUp()
    const opened = [await open(), await open(), await open()]
    expect(new Set(opened.map(({ cookieValue }) => cookieValue)).size).toBe(3)
    expect(new Set(opened.map(({ session }) => session.idHash)).size).toBe(3)
  })

  it('gives a browser that has one for this share its session back', async () => {
    const { open, clock, sessions } = setUp()
    const first = await open()
    clock.advance(600)
    const presented = ['unknown', first.session.idHash]
    const again = await open(
      {},
      { presented, suffix: 'a/b.md', returnUri: undefined, framed: false, frameAncestors: [] },
    )
    expect(again.cookieValue).toBeUndefined()
    expect(again.session).toMatchObject({
      idHash: first.session.idHash,
      suffix: 'a/b.md',
      returnUri: RETURN_URI,
      framed: false,
      frameAncestors: [],
      deadline: START + 600 + HOUR,
    })
    expect(await sessions.find(first.session.idHash)).toEqual(again.session)
  })

  it.each([
    ['another share', { shareId: '43' }, {}],
    ['another sender', { senderDomain: 'other.example' }, {}],
    ['another person', { user: 'carol@nextcloud2.docker' }, {}],
    ['a share made anew under the same id', { instance: 'second' }, {}],
    ['another webapp', {}, { webapp: 'other' }],
    ['another scope', {}, { scope: '/notes/~0/' }],
  ])('never continues a session of %s', async (_what, grant, opening) => {
    const { open, find } = setUp()
    const first = await open()
    const other = await open(grant, { ...opening, presented: [first.session.idHash] })
    expect(other.cookieValue).toBeDefined()
    expect(other.session.idHash).not.toBe(first.session.idHash)
    expect(await find(first.session)).toBe('live')
  })

  it.each([
    [
      'was ended',
      async ({ sessions }: ReturnType<typeof setUp>, session: Session) => void (await sessions.end(session, 'logout')),
    ],
    ['is past its deadline', async ({ clock }: ReturnType<typeof setUp>) => clock.advance(HOUR)],
  ])('never continues a session that %s', async (_what, change) => {
    const rig = setUp()
    const { session } = await rig.open()
    await change(rig, session)
    expect((await rig.open({}, { presented: [session.idHash] })).cookieValue).toBeDefined()
  })

  it('into a running session makes it the newest one, with the whole age before it', async () => {
    const { open, clock } = setUp({ idleTimeout: 24 * HOUR })
    const { session } = await open()
    clock.advance(5 * HOUR)
    const other = await open({ shareId: '43' })
    clock.advance(HOUR)
    const again = await open({}, { presented: [session.idHash] })
    expect(again.session.openedAt).toBeGreaterThan(other.session.openedAt)
    expect(again.session.expiresAt).toBe(START + 14 * HOUR)
  })

  it('is refused when its sender has as many sessions as it may have, and nobody else is', async () => {
    const { open } = setUp()
    const { session } = await open({}, { limit: 1 })
    expect(await outcomeOf(() => open({ shareId: '43' }, { limit: 1 }))).toBe('503 sessions_full')
    expect((await open({}, { limit: 1, presented: [session.idHash] })).session.idHash).toBe(session.idHash)
    expect(await outcomeOf(() => open({ senderDomain: 'other.example' }, { limit: 1 }))).toBe('ok')
  })
})

describe('how long a session lives', () => {
  it.each([
    ['a provisioned one: maxAge', {}, {}, 8 * HOUR],
    ['a provisioned one bound to its token: the token', { boundTo: 'token' }, {}, HOUR],
    ['a share that ends before', {}, { expiresAt: START + 60 }, 60],
    ['a share that ends before its token', { boundTo: 'token' }, { expiresAt: START + 60 }, 60],
    ['a self-contained one: the token', {}, { mode: 'self-contained' }, HOUR],
    ['an introspected one: the answer', {}, { mode: 'introspected', tokenExpiresAt: START + 60 }, 60],
    ['a token that outlives maxAge', { maxAge: 600 }, { mode: 'self-contained' }, 600],
  ] as [string, Partial<SessionsConfig>, Partial<Grant>, number][])('%s', async (_what, config, grant, seconds) => {
    const { open, clock, find } = setUp({ ...config, idleTimeout: 24 * HOUR })
    const { session } = await open(grant)
    expect(session.expiresAt).toBe(START + seconds)
    clock.set(START + seconds - 1)
    expect(await find(session)).toBe('live')
    clock.set(START + seconds)
    expect(await find(session)).toBe('expired')
    expect(await find(session)).toBe('expired')
  })

  it('unused, it ends with the idle timeout', async () => {
    const { open, clock, find, names } = setUp()
    const { session } = await open()
    clock.advance(HOUR)
    expect(await find(session)).toBe('idle')
    expect(names()).toEqual(['session.ended'])
  })

  it('use moves the deadline, but is written only when a tenth of the idle timeout has passed', async () => {
    const { open, clock, find, sessions, store } = setUp()
    const { session } = await open()
    const deadline = async () => {
      const row = await store.sessions.get(session.idHash)
      return row?.state === 'live' ? row.deadline - START : undefined
    }
    clock.advance(360)
    await sessions.used(session)
    expect(await deadline()).toBe(HOUR)
    clock.advance(1)
    await sessions.used(session)
    expect(await deadline()).toBe(HOUR + 361)
    clock.advance(3599)
    expect(await find(session)).toBe('live')
  })

  it('use never moves it beyond the hard limit', async () => {
    const { open, clock, find, sessions } = setUp({ maxAge: 2 * HOUR })
    const { session } = await open()
    for (let minute = 0; minute < 119; minute += 1) {
      clock.advance(60)
      const found = await sessions.find(session.idHash)
      if (found !== undefined && 'grant' in found) await sessions.used(found)
    }
    expect(await find(session)).toBe('live')
    clock.advance(60)
    expect(await find(session)).toBe('expired')
  })

  it('an open connection is use, and one of a session that has ended is cut', async () => {
    const { open, clock, find, sessions, live, store } = setUp()
    const [kept, left] = [await open(), await open({ shareId: '43' })]
    const cut: string[] = []
    live.add(kept.session.idHash, () => cut.push('kept'))
    live.add('ended elsewhere', () => cut.push('stray'))
    clock.advance(HOUR - 1)
    await sessions.keepAlive()
    clock.advance(HOUR - 1)
    expect(await find(kept.session)).toBe('live')
    expect(await find(left.session)).toBe('idle')
    expect(cut).toEqual(['stray'])
    expect(await store.sessions.count('notes')).toBe(1)
  })

  it('the sweep ends what is due, oldest first, and cuts its connections', async () => {
    const { open, clock, find, sessions, live, told } = setUp()
    const { session } = await open()
    const fresh = await open({ shareId: '43', mode: 'self-contained', tokenExpiresAt: START + 9 * HOUR }, {})
    let cuts = 0
    live.add(session.idHash, () => {
      cuts += 1
    })
    clock.advance(HOUR - 1)
    await sessions.used(fresh.session)
    await sessions.sweep()
    expect(cuts).toBe(0)
    clock.advance(1)
    await sessions.sweep()
    expect(cuts).toBe(1)
    expect(await find(session)).toBe('idle')
    expect(await find(fresh.session)).toBe('live')
    expect(told).toMatchObject([
      {
        event: 'session.ended',
        fields: { webapp: 'notes', senderDomain: 'nextcloud1.docker', shareId: '42', reason: 'idle', cut: 1 },
      },
    ])
  })
})

describe('a newer token of the same person for the same share', () => {
  const NEWER = { tokenExpiresAt: START + 2 * HOUR }

  it('serves all their running sessions', async () => {
    const { open, sessions } = setUp()
    const [first, second] = [await open(), await open()]
    await open(NEWER)
    for (const { session } of [first, second]) {
      expect(await sessions.find(session.idHash)).toMatchObject({ grant: { tokenExpiresAt: START + 2 * HOUR } })
    }
  })

  it('lengthens sessions that live as long as their token', async () => {
    const { open, sessions } = setUp({ boundTo: 'token' })
    const { session } = await open()
    await open(NEWER)
    expect(await sessions.find(session.idHash)).toMatchObject({ expiresAt: START + 2 * HOUR })
  })

  it.each([
    ['another person', { user: 'carol@nextcloud2.docker' }],
    ['another share', { shareId: '43' }],
    ['another sender', { senderDomain: 'other.example' }],
    ['a share made anew under the same id', { instance: 'second' }],
  ])('serves nobody else: %s', async (_what, change) => {
    const { open, sessions } = setUp()
    const { session } = await open(change)
    await open(NEWER)
    expect(await sessions.find(session.idHash)).toMatchObject({ grant: { tokenExpiresAt: START + HOUR } })
  })

  it('is not replaced by an older one, whose permissions count all the same', async () => {
    const { open, sessions } = setUp({ boundTo: 'token' })
    const { session } = await open(NEWER)
    const again = await open({ permissions: ['view'] }, { presented: [session.idHash] })
    expect(again.session.grant).toMatchObject({ tokenExpiresAt: START + 2 * HOUR, permissions: ['view'] })
    expect(again.session.expiresAt).toBe(START + 2 * HOUR)
    expect(await sessions.find(session.idHash)).toEqual(again.session)
  })

  it('the same token three times is one session', async () => {
    const { open, store } = setUp()
    const { session } = await open()
    for (let tab = 0; tab < 2; tab += 1) await open({}, { presented: [session.idHash] })
    expect(await store.sessions.ofShare(session.grant)).toHaveLength(1)
  })
})

describe('ending', () => {
  it.each(['revoked', 'expired', 'logout', 'closed'] as EndReason[])(
    '%s leaves for a day what sends the browser back',
    async (reason) => {
      const { open, sessions, clock } = setUp()
      const { session } = await open()
      expect(await sessions.end(session, reason)).toBe(true)
      const remainder = { reason, returnUri: RETURN_URI, frameAncestors: ['https://nextcloud2.docker'] }
      expect(await sessions.find(session.idHash)).toEqual(remainder)
      clock.advance(86_399)
      expect(await sessions.find(session.idHash)).toEqual(remainder)
      clock.advance(1)
      expect(await sessions.find(session.idHash)).toBeUndefined()
    },
  )

  it('happens once, however many try', async () => {
    const { open, sessions, names, ended } = setUp()
    const { session } = await open()
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => sessions.end(session, 'logout')))
    expect(outcomes.filter(Boolean)).toHaveLength(1)
    expect(names()).toEqual(['session.ended'])
    expect(ended).toEqual([session.idHash])
  })

  it('is never undone by what was under way', async () => {
    const { open, sessions, find } = setUp()
    const { session } = await open()
    await sessions.end(session, 'revoked')
    await sessions.used(session)
    await sessions.keepAlive()
    await open({ tokenExpiresAt: START + 2 * HOUR })
    await sessions.reconcile(session.grant, ({ grant }) => grant)
    expect(await find(session)).toBe('revoked')
  })

  it('cuts its connections in every process', async () => {
    const { open, sessions, live, another } = setUp()
    const { session } = await open()
    const there = another()
    const cut: string[] = []
    live.add(session.idHash, () => cut.push('here'))
    there.live.add(session.idHash, () => cut.push('there'))
    there.live.add('another session', () => cut.push('wrong'))
    await sessions.end(session, 'revoked')
    expect(cut).toEqual(['here', 'there'])
    expect(there.names()).toEqual([])
    expect(there.ended).toEqual([])
  })

  it('is seen by every process at once, also by one that has just looked', async () => {
    const { open, sessions, another } = setUp()
    const { session } = await open()
    const there = another()
    expect(await there.sessions.find(session.idHash)).toMatchObject({ idHash: session.idHash })
    await sessions.end(session, 'revoked')
    expect(await there.sessions.find(session.idHash)).toMatchObject({ reason: 'revoked' })
  })

  it('of a share ends all its sessions and no other', async () => {
    const { open, sessions, find } = setUp()
    const bobs = [await open(), await open()]
    const carols = await open({ user: 'carol@nextcloud2.docker' })
    const others = [await open({ shareId: '43' }), await open({ senderDomain: 'other.example' })]
    expect(await sessions.endShare(carols.session.grant, 'revoked')).toBe(3)
    for (const { session } of [...bobs, carols]) expect(await find(session)).toBe('revoked')
    for (const { session } of others) expect(await find(session)).toBe('live')
    expect(await sessions.endShare(carols.session.grant, 'revoked')).toBe(0)
  })

  it('of a person ends their sessions of that share only', async () => {
    const { open, sessions, find } = setUp()
    const [bob, carol, other] = [
      await open(),
      await open({ user: 'carol@nextcloud2.docker' }),
      await open({ shareId: '43' }),
    ]
    expect(await sessions.endPerson(bob.session.grant, 'closed')).toBe(1)
    expect(await find(bob.session)).toBe('closed')
    expect(await find(carol.session)).toBe('live')
    expect(await find(other.session)).toBe('live')
  })

  it('isOpen tells whether anyone of them is left at this webapp', async () => {
    const { open, sessions, clock } = setUp()
    const [one, two] = [await open(), await open()]
    const elsewhere = await open({}, { webapp: 'other' })
    expect(await sessions.isOpen(one.session)).toBe(true)
    await sessions.end(one.session, 'logout')
    expect(await sessions.isOpen(one.session)).toBe(true)
    await sessions.end(two.session, 'logout')
    expect(await sessions.isOpen(one.session)).toBe(false)
    expect(await sessions.isOpen(elsewhere.session)).toBe(true)
    clock.advance(HOUR)
    expect(await sessions.isOpen(elsewhere.session)).toBe(false)
  })
})

describe('after a record was replaced', () => {
  const withPermissions =
    (...permissions: Grant['permissions']) =>
    (session: Session) => ({ ...session.grant, permissions })

  it('sessions with fewer permissions go on with what is left, their connections cut', async () => {
    const { open, sessions, live, told, another } = setUp()
    const { session } = await open()
    const there = another()
    await there.sessions.find(session.idHash)
    let cuts = 0
    live.add(session.idHash, () => {
      cuts += 1
    })
    await sessions.reconcile(session.grant, withPermissions('view'))
    expect(cuts).toBe(1)
    for (const process of [sessions, there.sessions]) {
      expect(await process.find(session.idHash)).toMatchObject({ grant: { permissions: ['view'] } })
    }
    expect(told).toEqual([
      { event: 'session.narrowed', fields: { senderDomain: 'nextcloud1.docker', shareId: '42', sessions: 1 } },
    ])
  })

  it('sessions with the same or more go on undisturbed', async () => {
    const { open, sessions, live, names } = setUp()
    const { session } = await open({ permissions: ['view'] })
    let cuts = 0
    live.add(session.idHash, () => {
      cuts += 1
    })
    await sessions.reconcile(session.grant, withPermissions('write'))
    expect(await sessions.find(session.idHash)).toMatchObject({ grant: { permissions: ['write'] } })
    expect([cuts, names()]).toEqual([0, []])
  })

  it('sessions that it no longer covers end', async () => {
    const { open, sessions, find } = setUp()
    const { session } = await open()
    const other = await open({ shareId: '43' })
    await sessions.reconcile(session.grant, () => undefined)
    expect(await find(session)).toBe('replaced')
    expect(await find(other.session)).toBe('live')
  })

  it('a nearer expiration ends them in time', async () => {
    const { open, sessions, clock, find } = setUp()
    const { session } = await open()
    const expiresAt = START + 60
    await sessions.reconcile(session.grant, ({ grant }) => ({
      ...grant,
      expiresAt,
      share: shareOf({ expiration: expiresAt }),
    }))
    expect(await sessions.find(session.idHash)).toMatchObject({ expiresAt, deadline: expiresAt })
    clock.advance(60)
    expect(await find(session)).toBe('expired')
  })

  it('a session that was launched anew hours ago does not lose that time', async () => {
    const { open, sessions, clock, find } = setUp({ idleTimeout: 24 * HOUR })
    const { session } = await open()
    clock.advance(7 * HOUR)
    await open({}, { presented: [session.idHash] })
    clock.advance(2 * HOUR)
    await sessions.reconcile(session.grant, ({ grant }) => grant)
    expect(await find(session)).toBe('live')
  })
})
