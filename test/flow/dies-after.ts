import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, StatementSync } from 'node:sqlite'

/**
 * Loaded into a gateway before anything else (`--import …/dies-after.ts?orders=<folder>`): it dies as by `kill -9` right after
 * the n-th thing that WOPI has written into the store, counted from when the file `die-after` is there and says n. At a SIGUSR2
 * its clock is put forward by the seconds that the file `late` says.
 */
const folder = new URL(import.meta.url).searchParams.get('orders') ?? ''
const dieAfter = join(folder, 'die-after')

let written = 0
function wrote(): void {
  written = existsSync(dieAfter) ? written + 1 : 0
  if (written > 0 && written === Number(readFileSync(dieAfter, 'utf8'))) process.kill(process.pid, 'SIGKILL')
}

let inTransaction = false
let waiting = 0
const { exec } = DatabaseSync.prototype
DatabaseSync.prototype.exec = function (sql) {
  exec.call(this, sql)
  if (sql.startsWith('BEGIN IMMEDIATE')) inTransaction = true
  if (sql !== 'COMMIT' && sql !== 'ROLLBACK') return
  inTransaction = false
  for (; waiting > 0; waiting -= 1) if (sql === 'COMMIT') wrote()
}

const { run } = StatementSync.prototype as { run: (...parameters: unknown[]) => ReturnType<StatementSync['run']> }
StatementSync.prototype.run = function (this: StatementSync, ...parameters: unknown[]) {
  const result = run.apply(this, parameters)
  const { space } = (parameters[0] ?? {}) as { space?: string }
  if (space?.startsWith('wopi ')) {
    if (inTransaction) waiting += 1
    else wrote()
  }
  return result
} as StatementSync['run']

const lateFile = join(folder, 'late')
let late = existsSync(lateFile) ? Number(readFileSync(lateFile, 'utf8')) : 0
const { now } = Date
Date.now = () => now() + late * 1000
process.on('SIGUSR2', () => {
  late = Number(readFileSync(lateFile, 'utf8'))
  writeFileSync(join(folder, 'heard'), String(late))
})
