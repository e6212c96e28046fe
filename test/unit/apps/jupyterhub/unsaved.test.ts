import { describe, expect, it } from 'vitest'
import { type Report, unwatched } from '../../../../src/apps/app.ts'
import { createMirrorNotes } from '../../../../src/apps/jupyterhub/content/mirror-notes.ts'
import { createRig, sessionFor, started } from './rig.ts'

const unclaimed = async () => false

/** A server with a change that its sending cloud does not have, and cannot get: there is no cloud. */
async function withUnsaved() {
  const rig = await createRig({ content: 'webdav', keepUnsaved: '1h' })
  const { session, name } = await started(rig, { permissions: ['write'] })
  const notes = createMirrorNotes('notebooks', { notes: rig.tools.store.notes, now: rig.tools.now })
  await notes.queue(name, { kind: 'path', path: 'a.txt', at: rig.clock.time })
  rig.hub.calls.length = 0
  rig.told.length = 0
  const told = () => rig.told.map(({ event }) => event)
  return { rig, session, name, notes, told }
}

describe('changes that cannot be saved', () => {
  it('keep user and home when everybody has left; the server is stopped', async () => {
    const { rig, session, name, notes, told } = await withUnsaved()
    await rig.app.release(session)
    expect(rig.hub.users.get(name)?.server).toBeUndefined()
    expect(rig.hub.users.has(name)).toBe(true)
    expect(told()).toEqual(['content.kept'])
    await rig.app.sweep(unclaimed)
    expect(rig.hub.users.has(name)).toBe(true)
    expect(await notes.changesOf(name, 10)).toHaveLength(1)
  })

  it('are given up after the configured time, and the log says so', async () => {
    const { rig, session, name, notes, told } = await withUnsaved()
    await rig.app.release(session)
    rig.clock.time += 3599
    await rig.app.sweep(unclaimed)
    expect(rig.hub.users.has(name)).toBe(true)
    rig.clock.time += 1
    await rig.app.sweep(unclaimed)
    expect(rig.hub.users.has(name)).toBe(false)
    expect(told()).toContain('content.dropped')
    expect(await notes.changesOf(name, 10)).toEqual([])
    expect(await notes.state(name)).toBeUndefined()
  })

  it('have their time anew with every launch', async () => {
    const { rig, session, name } = await withUnsaved()
    await rig.app.release(session)
    rig.clock.time += 3599
    await rig.app.prepare({ ...session, openedAt: rig.clock.time }, () => {})
    await rig.app.release(session)
    rig.clock.time += 3599
    await rig.app.sweep(unclaimed)
    expect(rig.hub.users.has(name)).toBe(true)
  })

  it('go with a share that was revoked', async () => {
    const { rig, session, name, told } = await withUnsaved()
    const { senderDomain, shareId } = session.grant
    const applied = { created: rig.clock.time, signature: 's' }
    const times = { now: rig.clock.time, keepUntil: rig.clock.time + 86_400, limit: 10 }
    await rig.tools.store.shares.revoke({ senderDomain, shareId }, applied, times)
    await rig.app.release(session)
    expect(rig.hub.users.has(name)).toBe(false)
    expect(told()).toEqual(['content.dropped', 'app.released'])
  })
})

describe('a later launch into a server that runs', () => {
  it('looks at the files again and lands at once', async () => {
    const rig = await createRig({ content: 'webdav' })
    const session = sessionFor(rig.app)
    await rig.app.prepare(session, () => {})
    const landing = await rig.app.ready(session)
    rig.clock.time += 600
    rig.hub.calls.length = 0
    const later = { ...session, openedAt: rig.clock.time }
    expect(await rig.app.ready(later)).toBe(landing)
    expect(landing).toBeDefined()
  })
})

describe('a share that does not say where its files are', () => {
  it('opens with an empty home, and people are told once', async () => {
    const rig = await createRig({ content: 'webdav' })
    const session = sessionFor(rig.app)
    const notices: string[] = []
    const report: Report = ({ notice }) => void (notice && notices.push(notice.heading))
    await rig.app.prepare(session, unwatched)
    expect(await rig.app.ready(session)).toBeUndefined()
    await rig.app.prepare(session, report)
    expect(await rig.app.ready(session)).toBeDefined()
    await rig.app.prepare(session, report)
    expect(notices).toEqual(['The files did not come along'])
    expect(await rig.app.describe?.(session)).toEqual({
      content: { state: 'absent', leftOut: { total: 0, listed: [] } },
    })
  })
})
