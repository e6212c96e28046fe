import { describe, expect, it } from 'vitest'
import {
  currentLock,
  decideLock,
  type HeldLock,
  judgeSave,
  type LockOperation,
  type SaveQuestion,
} from '../../../../src/apps/wopi/locks.ts'

const NOW = 1_000_000
const HALF_AN_HOUR = 1800
const by = (value: string, expiresAt = NOW + 60): HeldLock => ({ value, expiresAt })

const OPERATIONS: readonly LockOperation[] = [
  { type: 'lock', lock: 'A' },
  { type: 'relock', lock: 'B', old: 'A' },
  { type: 'refresh', lock: 'A' },
  { type: 'unlock', lock: 'A' },
]

describe('the lock table', () => {
  const state = {
    unlocked: undefined,
    'locked by A': by('A'),
    'locked by X': by('X'),
    'locked by A, expired': by('A', NOW),
  }
  const granted = (value: string) => ({ granted: true, held: { value, expiresAt: NOW + HALF_AN_HOUR } })
  const refused = (current: string) => ({ granted: false, current })
  const free = { granted: true, held: undefined }

  it.each<[keyof typeof state, ...unknown[]]>([
    ['unlocked', granted('A'), refused(''), refused(''), refused('')],
    ['locked by A', granted('A'), granted('B'), granted('A'), free],
    ['locked by X', refused('X'), refused('X'), refused('X'), refused('X')],
    ['locked by A, expired', granted('A'), refused(''), refused(''), refused('')],
  ])('%s: LOCK, UnlockAndRelock, REFRESH_LOCK, UNLOCK', (name, ...expected) => {
    expect(OPERATIONS.map((operation) => decideLock(state[name], operation, NOW))).toEqual(expected)
  })

  it('locks are compared byte for byte', () => {
    expect(decideLock(by('{"S":1}'), { type: 'unlock', lock: '{"s":1}' }, NOW)).toEqual(refused('{"S":1}'))
  })

  it('a lock ends after its half hour, to the second', () => {
    expect([currentLock(by('A', NOW + 1), NOW), currentLock(by('A', NOW), NOW)]).toEqual(['A', ''])
  })
})

describe('a save', () => {
  const now = { etag: '"2"', modified: 2000, size: 10 }
  const question: SaveQuestion = {
    current: 'A',
    lock: 'A',
    now,
    lastModified: 'now',
    seen: now,
    written: undefined,
    recovered: false,
    timestamp: undefined,
    overwrite: false,
  }
  const older = { etag: '"1"', modified: 1000, size: 10 }
  const verdict = (change: Partial<SaveQuestion>) => judgeSave({ ...question, ...change })
  const written = (ifMatch: string | undefined = '"2"', adopts = false) => ({ type: 'write', ifMatch, adopts })

  it('is written under the lock that holds, only while the file is what was read', () => {
    expect(verdict({})).toEqual(written())
  })

  it.each([
    ['under another lock', { current: 'X' }, 'X'],
    ['without a lock', { lock: undefined }, 'A'],
    ['to an unlocked file that is not empty, without a lock', { current: '', lock: undefined }, ''],
  ])('is refused %s', (_when, change, current) => {
    expect(verdict(change)).toEqual({ type: 'locked', current })
  })

  it('whose answer got lost is written again: its editor says the time that it said before', () => {
    const lost = { timestamp: 'before', lastModified: 'now', seen: older }
    expect(verdict({ ...lost, written: { ...now, timestamp: 'before' } })).toEqual(written())
    expect(verdict({ ...lost, written: { ...now, timestamp: 'another' } })).toEqual({ type: 'changed' })
    expect(verdict({ ...lost, written: { ...now, timestamp: undefined } })).toEqual({ type: 'changed' })
    expect(verdict({ ...lost, written: { ...older, timestamp: 'before' } })).toEqual({ type: 'changed' })
  })

  it('fills an empty file that nobody has locked: it was just created', () => {
    const empty = { ...now, size: 0 }
    expect(verdict({ current: '', lock: undefined, now: empty, seen: empty })).toEqual(written())
    expect(verdict({ current: '', lock: undefined, now: empty, seen: undefined })).toEqual(written())
  })

  it('adopts a lock that we lost, when nothing changed', () => {
    expect(verdict({ current: '' })).toEqual(written('"2"', true))
    expect(verdict({ current: '', seen: older })).toEqual({ type: 'changed' })
  })

  it('is refused when somebody else changed the file', () => {
    expect(verdict({ seen: older })).toEqual({ type: 'changed' })
    expect(verdict({ timestamp: 'before' })).toEqual({ type: 'changed' })
    expect(verdict({ timestamp: 'now', seen: older })).toEqual({ type: 'changed' })
    expect(verdict({ seen: undefined })).toEqual({ type: 'changed' })
  })

  it('knows what its own editing session wrote, also with another person’s token', () => {
    expect(verdict({ seen: older, written: now, timestamp: 'now' })).toEqual(written())
  })

  it('knows a save of its own whose answer got lost', () => {
    expect(verdict({ seen: older, recovered: true, timestamp: 'before' })).toEqual(written())
  })

  it('of a token that has read nothing, goes by the time that the editor knows', () => {
    expect(verdict({ seen: undefined, timestamp: 'now' })).toEqual(written())
    expect(verdict({ seen: undefined, timestamp: 'before' })).toEqual({ type: 'changed' })
  })

  it('overwrites without a condition when the person chose to, but not over another lock', () => {
    expect(judgeSave({ ...question, seen: older, overwrite: true })).toEqual({
      type: 'write',
      ifMatch: undefined,
      adopts: false,
    })
    expect(verdict({ seen: older, overwrite: true, current: 'X' })).toEqual({ type: 'locked', current: 'X' })
  })

  it('uses no weak ETag as a condition, and without ETags compares time and size', () => {
    const weak = { ...now, etag: 'W/"2"' }
    expect(judgeSave({ ...question, now: weak, seen: weak })).toMatchObject({ type: 'write', ifMatch: undefined })
    const bare = { modified: 2000, size: 10 }
    expect(judgeSave({ ...question, now: bare, seen: bare })).toMatchObject({ type: 'write', ifMatch: undefined })
    expect(verdict({ now: bare, seen: { modified: 2000, size: 11 } })).toEqual({ type: 'changed' })
  })
})
