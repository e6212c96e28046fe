import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createMemoryStore } from '../../src/store/memory.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { EndedSession, SessionRow, ShareKey, Store } from '../../src/store/store.ts'
import { applied, expectSameAnswers, OPERATIONS, START, shareRow, storeContract } from './store.ts'

const KEY: ShareKey = { senderDomain: 'cloud.example.org', shareId: '42' }
const SESSION: SessionRow = {
  ...KEY,
  state: 'live',
  idHash: 'hash-1',
  webapp: 'notebooks',
  deadline: START,
  data: '{}',
}
const ENDED: EndedSession = {
  state: 'ended',
  idHash: 'hash-1',
  webapp: 'notebooks',
  reason: 'logout',
  endedAt: START,
  data: '{}',
}
const ROOM = { limit: 100 }
const REVOCATION = { now: START, keepUntil: START + 60, limit: 100 }
const now = () => START

function freshFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'store-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return join(folder, 'data', 'gateway.db')
}

function openSqlite(file: string): Store {
  const store = openSqliteStore(file, { now })
  onTestFinished(() => store.close())
  return store
}

/** Another program that has the same file open. */
function openElsewhere(file: string): DatabaseSync {
  const database = new DatabaseSync(file)
  onTestFinished(() => database.close())
  return database
}

/** A failing disk: what an open store finds at its next read is not what it wrote. */
function overwrite(file: string) {
  openElsewhere(file).exec('CREATE TABLE change (a); PRAGMA wal_checkpoint(TRUNCATE)')
  writeFileSync(file, Buffer.alloc(statSync(file).size, 'x'))
}

storeContract('sqlite', async () => {
  let time = START
  const clock = () => time
  return {
    store: openSqliteStore(freshFile(), { now: clock }),
    now: clock,
    async advance(seconds) {
      time += seconds
    },
  }
})

describe('a SQLite file', () => {
  it('keeps everything when it is closed and opened again', async () => {
    const file = freshFile()
    const first = openSqlite(file)
    await first.shares.put(shareRow(), applied(START, 'put'), ROOM)
    await first.shares.put(shareRow({ shareId: 'revoked' }), applied(START, 'put'), ROOM)
    await first.shares.revoke({ ...KEY, shareId: 'revoked' }, applied(START, 'revoke'), REVOCATION)
    await first.sessions.open(SESSION, ROOM)
    await first.sessions.open({ ...SESSION, idHash: 'hash-2' }, ROOM)
    await first.sessions.end({ ...ENDED, idHash: 'hash-2' }, REVOCATION)
    await first.workloads.put({ ...KEY, webapp: 'notebooks', name: 'server-1', data: '{}' })
    await first.close()

    const second = openSqlite(file)
    expect(await second.shares.get(KEY)).toStrictEqual(shareRow())
    expect(await second.shares.put(shareRow(), applied(START, 'put'), ROOM)).toBe('unchanged')
    const replayed = shareRow({ shareId: 'revoked' })
    expect(await second.shares.put(replayed, applied(START, 'put'), ROOM)).toBe('superseded')
    expect(await second.shares.count(KEY.senderDomain)).toBe(1)
    expect(await second.sessions.get('hash-1')).toStrictEqual(SESSION)
    expect(await second.sessions.get('hash-2')).toStrictEqual({ ...ENDED, idHash: 'hash-2' })
    expect(await second.sessions.count('notebooks')).toBe(1)
    expect(await second.workloads.list('notebooks')).toHaveLength(1)
  })

  it('is readable by its owner only, and so are its folder and the files beside it', async () => {
    const file = freshFile()
    await openSqlite(file).shares.put(shareRow(), applied(START), ROOM)
    const folder = join(file, '..')
    const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)
    expect(modeOf(folder)).toBe('700')
    const modes = readdirSync(folder).map((name) => [name, modeOf(join(folder, name))])
    expect(Object.fromEntries(modes)).toEqual({
      'gateway.db': '600',
      'gateway.db-shm': '600',
      'gateway.db-wal': '600',
      'gateway.db.lock': '600',
    })
  })

  it('keeps no data of a share that was revoked', async () => {
    const file = freshFile()
    const store = openSqlite(file)
    await store.shares.put(shareRow(), applied(START), ROOM)
    await store.shares.revoke(KEY, applied(START + 1), REVOCATION)
    const row = openElsewhere(file).prepare('SELECT data, instance, expiresAt FROM shares').get()
    expect({ ...row }).toEqual({ data: null, instance: null, expiresAt: null })
  })

  it('deletes what it sweeps', async () => {
    const file = freshFile()
    const store = openSqlite(file)
    await store.shares.revoke(KEY, applied(START), REVOCATION)
    await store.sessions.open(SESSION, ROOM)
    await store.sessions.end(ENDED, REVOCATION)
    await store.shares.sweep(START + 60)
    await store.sessions.sweep(START + 60)
    const left = openElsewhere(file).prepare(
      'SELECT (SELECT count(*) FROM shares) + (SELECT count(*) FROM endedSessions) AS n',
    )
    expect(left.get()).toMatchObject({ n: 0 })
  })

  it('is refused when a newer gateway wrote it, and left as it is', async () => {
    const file = freshFile()
    await openSqlite(file).close()
    const newer = openElsewhere(file)
    newer.exec('PRAGMA user_version = 99')
    expect(() => openSqlite(file)).toThrow(/a newer gateway wrote it \(schema 99, this one knows \d+\)/)
    expect(newer.prepare('PRAGMA user_version').get()).toMatchObject({ user_version: 99 })
  })

  it('is refused when it is something else', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'store-')), 'gateway.db')
    onTestFinished(() => rmSync(join(file, '..'), { recursive: true }))
    writeFileSync(file, 'this is not a database, but it is long enough to be read as the header of one'.repeat(20))
    const refusal = expect.objectContaining({ status: 503, reason: 'store_unavailable' })
    expect(() => openSqlite(file)).toThrow(refusal)
    expect(() => openSqlite(file)).toThrow(`The database ${file} cannot be opened: file is not a database`)
  })

  it('is refused while another gateway has it, and free as soon as that one closes', async () => {
    const file = freshFile()
    const first = openSqlite(file)
    expect(() => openSqlite(file)).toThrow(/another gateway uses it/)
    const child = [join(import.meta.dirname, 'crash-child.ts'), file, '0']
    const { status, stderr } = spawnSync(process.execPath, child, { encoding: 'utf8', timeout: 10_000 })
    expect(stderr).toContain(`The database ${file} cannot be opened: another gateway uses it`)
    expect(status).toBe(1)
    await first.close()
    await expect(openSqlite(file).ping()).resolves.toBeUndefined()
  })

  it.each(OPERATIONS)(
    'that is no database any more answers store_unavailable to $operation, not "missing"',
    async ({ run }) => {
      const file = freshFile()
      const store = openSqlite(file)
      overwrite(file)
      await expect(run(store)).rejects.toMatchObject({
        status: 503,
        reason: 'store_unavailable',
        retryAfterSeconds: 10,
      })
    },
  )

  it('that another program locks answers reads, store_unavailable to writes, and works again afterwards', async () => {
    const file = freshFile()
    const store = openSqlite(file)
    const other = openElsewhere(file)
    other.exec('BEGIN IMMEDIATE')
    await expect(store.shares.put(shareRow(), applied(START), ROOM)).rejects.toMatchObject({
      reason: 'store_unavailable',
    })
    expect(await store.shares.get(KEY)).toBeUndefined()
    other.exec('ROLLBACK')
    expect(await store.shares.put(shareRow(), applied(START), ROOM)).toBe('stored')
  })

  it('does all of an operation or nothing', async () => {
    const file = freshFile()
    const store = openSqlite(file)
    await store.sessions.open(SESSION, ROOM)
    const other = openElsewhere(file)
    other.exec(`CREATE TRIGGER fault BEFORE INSERT ON endedSessions BEGIN SELECT raise(FAIL, 'no'); END`)
    await expect(store.sessions.end(ENDED, REVOCATION)).rejects.toMatchObject({ reason: 'store_unavailable' })
    expect(await store.sessions.get('hash-1')).toStrictEqual(SESSION)
    expect(await store.sessions.count('notebooks')).toBe(1)
  })

  it('answers as the memory store does, whatever the order of requests', async () => {
    await expectSameAnswers([openSqlite(freshFile()), createMemoryStore({ now })], 200)
  })
})
