import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { unavailable } from '../core/errors.ts'
import { MIGRATIONS } from './sqlite-schema.ts'

/** How long another program (a backup, an operator’s shell) may hold the write lock; the process stands still meanwhile. */
const BUSY_TIMEOUT_MS = 1000

const SQLITE_BUSY = 5

/** How often operators’ commands have written, where workers find it. */
const OPERATED = `SELECT data FROM notes WHERE space = 'store' AND id = 'operated'`
const OPERATE = `INSERT INTO notes VALUES ('store', 'operated', '1', NULL) ON CONFLICT DO UPDATE SET data = data + 1`

/** A prepared statement; its `:names` are fields of `Params`, whose other fields it ignores. */
interface Statement<Params extends object, Row extends object> {
  get(params: Params): Row | undefined
  all(params: Params): Row[]
  /** @returns how many rows it changed */
  run(params: Params): number
}

/** One open database, its schema up to date. What it throws is SQLite’s own error. */
export interface Database {
  prepare<Params extends object, Row extends object = never>(sql: string): Statement<Params, Row>
  /** All of `work` or nothing; on disk when it returns. */
  transaction<T>(work: () => T): T
  /** A number that is another one when somebody has written since of whom our bus does not tell. */
  version(): number
  /** Writes without waiting for the disk: survives `kill -9`, but a power cut may undo it. */
  hurried<T>(work: () => T): T
  close(): void
}

/**
 * Opens or creates a database for this process alone: folder 0700, files 0600, WAL, every commit synced to disk.
 *
 * @throws {GatewayError} `store_unavailable`: not a database, not accessible, used by another process, or newer than we are
 */
export function openDatabase(file: string): Database {
  try {
    return open(file)
  } catch (cause) {
    const message = `The database ${file} cannot be opened: ${(cause as Error).message}`
    throw unavailable('store_unavailable', message, { cause })
  }
}

/**
 * Keeps a database for this process and its workers, and brings its schema up to date. While one of the workers lives, the
 * file stays taken, also when this process is gone.
 *
 * @throws {GatewayError} `store_unavailable`, as `openDatabase`
 */
export function holdDatabase(file: string): Disposable {
  try {
    using opening = new DisposableStack()
    const lock = opening.use(claimFolder(file))
    openAndMigrate(file).close()
    // From now on workers may join. Whoever comes in between the two has the file, and we are told so.
    lock.exec('COMMIT; BEGIN IMMEDIATE')
    return opening.move()
  } catch (cause) {
    const message = `The database ${file} cannot be opened: ${(cause as Error).message}`
    throw unavailable('store_unavailable', message, { cause })
  }
}

/**
 * Opens the database that the process that started this one keeps, one worker among others. They tell each other what they
 * write; `version` counts what operators’ commands wrote.
 *
 * @throws {GatewayError} `store_unavailable`: it is not kept, or not accessible
 */
export function openAmongWorkers(file: string): Database {
  try {
    using opening = new DisposableStack()
    const share = opening.use(new DatabaseSync(`${file}.lock`, { timeout: BUSY_TIMEOUT_MS }))
    share.exec('BEGIN; SELECT count(*) FROM sqlite_schema')
    const database = opening.use(openExisting(file))
    const operated = prepare<object, { data: string }>(database, OPERATED)
    const owned = opening.move()
    return {
      ...databaseOver(database),
      version: () => Number(operated.get({})?.data ?? 0),
      close: () => owned.dispose(),
    }
  } catch (cause) {
    const message = `The database ${file} cannot be opened: ${(cause as Error).message}`
    throw unavailable('store_unavailable', message, { cause })
  }
}

/**
 * Opens an existing database beside the process that uses it; whatever would write throws.
 *
 * @throws {GatewayError} `store_unavailable`: there is none, or it is not accessible
 */
export function openForReading(file: string): Database {
  try {
    return databaseOver(openSource(file))
  } catch (cause) {
    const message = `The database ${file} cannot be read: ${(cause as Error).message}`
    throw unavailable('store_unavailable', message, { cause })
  }
}

/**
 * Opens an existing database to read and write beside the processes that use it, which find out by `version`: workers only
 * of what is written in transactions.
 *
 * @throws {GatewayError} `store_unavailable`: there is none, it is not accessible, or of another version than we are
 */
export function openBeside(file: string): Database {
  try {
    const database = openExisting(file)
    const operate = database.prepare(OPERATE)
    const transact = <T>(work: () => T) =>
      transaction(database, () => {
        operate.run()
        return work()
      })
    return { ...databaseOver(database), transaction: transact }
  } catch (cause) {
    const message = `The database ${file} cannot be changed: ${(cause as Error).message}`
    throw unavailable('store_unavailable', message, { cause })
  }
}

/**
 * A copy of a database as it is at one moment, also while a gateway uses it; the file is for its owner’s eyes only.
 *
 * @throws {Error} when there is no database, or something is at `copy` already
 */
export function backUp(file: string, copy: string): void {
  const database = openSource(file)
  try {
    closeSync(openSync(copy, 'wx', 0o600))
    database.prepare('VACUUM INTO ?').run(copy)
  } finally {
    database.close()
  }
}

function openSource(file: string): DatabaseSync {
  return new DatabaseSync(file, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
}

function open(file: string): Database {
  using opening = new DisposableStack()
  opening.use(claimFolder(file))
  const database = opening.use(openAndMigrate(file))
  const owned = opening.move()
  return { ...databaseOver(database), close: () => owned.dispose() }
}

function claimFolder(file: string): DatabaseSync {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  return claim(`${file}.lock`)
}

function openAndMigrate(file: string): DatabaseSync {
  createPrivately(file)
  using opening = new DisposableStack()
  const database = opening.use(new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS }))
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  migrate(database)
  opening.move()
  return database
}

/** @throws {Error} when there is none, or its schema is of another version than ours */
function openExisting(file: string): DatabaseSync {
  if (!existsSync(file)) throw new Error('there is no such file (a gateway makes it when it starts)')
  const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS })
  database.exec('PRAGMA synchronous = FULL')
  const version = schemaOf(database)
  if (version === MIGRATIONS.length) return database
  database.close()
  throw new Error(`a gateway of another version wrote it (schema ${version}); run the command of that version`)
}

function databaseOver(database: DatabaseSync): Database {
  return {
    prepare: (sql) => prepare(database, sql),
    transaction: (work) => transaction(database, work),
    version: () => Number(database.prepare('PRAGMA data_version').get()?.data_version),
    hurried: (work) => hurried(database, work),
    close: () => database.close(),
  }
}

/**
 * Also sets the mode of SQLite’s own files beside it: they inherit it. An existing file keeps its mode, and is not opened:
 * closing it would end every lock that this process holds on it (POSIX).
 */
function createPrivately(file: string) {
  if (!existsSync(file)) closeSync(openSync(file, 'a', 0o600))
}

/**
 * Keeps other processes out for as long as it is open (the kernel ends it with the process): our locks and our bus do not
 * reach them. So does a worker whose primary is gone. The database itself stays open to backups.
 */
function claim(file: string): DatabaseSync {
  createPrivately(file)
  const lock = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS })
  try {
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    return lock
  } catch (cause) {
    lock.close()
    if ((cause as { errcode?: number }).errcode !== SQLITE_BUSY) throw cause
    throw new Error('another gateway uses it (give each its own file)', { cause })
  }
}

function schemaOf(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.user_version)
}

function migrate(database: DatabaseSync) {
  const version = schemaOf(database)
  if (version > MIGRATIONS.length) {
    throw new Error(
      `a newer gateway wrote it (schema ${version}, this one knows ${MIGRATIONS.length}); run that version`,
    )
  }
  for (const [index, sql] of MIGRATIONS.entries()) {
    if (index < version) continue
    transaction(database, () => database.exec(`${sql}; PRAGMA user_version = ${index + 1}`))
  }
}

function prepare<Params extends object, Row extends object>(
  database: DatabaseSync,
  sql: string,
): Statement<Params, Row> {
  const statement = database.prepare(sql)
  statement.setAllowUnknownNamedParameters(true)
  const named = (params: Params) => params as Record<string, SQLInputValue>
  return {
    get(params) {
      const row = statement.get(named(params))
      return row && ({ ...row } as Row)
    },
    all: (params) => statement.all(named(params)).map((row) => ({ ...row }) as Row),
    run: (params) => Number(statement.run(named(params)).changes),
  }
}

function transaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    // SQLite has rolled back by itself already when, say, the disk is full.
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

function hurried<T>(database: DatabaseSync, work: () => T): T {
  database.exec('PRAGMA synchronous = NORMAL')
  try {
    return work()
  } finally {
    database.exec('PRAGMA synchronous = FULL')
  }
}
