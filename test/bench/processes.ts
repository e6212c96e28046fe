import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

const PAGE_BYTES = 4096
const START_SECONDS = 20

export interface Running extends AsyncDisposable {
  readonly pid: number
}

/** Starts a server and waits until its port answers; it is stopped when disposed. @throws {Error} with what it said, when it cannot start */
export async function startServer(
  command: string,
  args: readonly string[],
  { port, env = {} }: { port: number; env?: Readonly<Record<string, string>> },
): Promise<Running> {
  const child = spawn(command, args, {
    env: { ...process.env, NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const orphaned = () => child.kill()
  process.once('exit', orphaned)
  child.once('exit', () => process.off('exit', orphaned))
  let said = ''
  for (const output of [child.stdout, child.stderr]) output.on('data', (text) => (said += text))
  for (let tries = 0; tries < START_SECONDS * 20; tries += 1) {
    if (child.exitCode !== null) break
    if (await answers(port)) return { pid: pidOf(child), [Symbol.asyncDispose]: () => stop(child) }
    await wait(50)
  }
  await stop(child)
  throw new Error(`${command} ${args.join(' ')} did not start:\n${said}`)
}

/** A module of ours as a process that speaks by messages. */
export function startWorker(module: URL): Running & { readonly worker: ChildProcess } {
  const worker = fork(module, {
    env: { ...process.env, NODE_ENV: 'production' },
  })
  return { worker, pid: pidOf(worker), [Symbol.asyncDispose]: () => stop(worker) }
}

/** The next message of a worker. @throws {Error} when it ends instead */
export async function messageOf<Message>(worker: ChildProcess): Promise<Message> {
  using ended = new DisposableStack()
  const failed = new Promise<never>((_, reject) => {
    const fail = () => reject(new Error('a worker process ended early'))
    worker.once('exit', fail)
    ended.defer(() => worker.off('exit', fail))
  })
  const [message] = await Promise.race([once(worker, 'message'), failed])
  return message as Message
}

function pidOf({ pid }: ChildProcess): number {
  if (pid === undefined) throw new Error('a process could not be started')
  return pid
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill()
  await exited
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/**
 * How long the threads of a process and of its children (the workers of nginx) were running, in seconds. Of the scheduler’s own
 * account, which counts nanoseconds; the times in `stat` are hundredths of a second. Does NOT count threads that have ended.
 */
export function cpuSeconds(pid: number): number {
  const own = tasksOf(pid).map((task) => Number(accountOf(`${pid}/task/${task}/schedstat`).split(' ')[0]))
  const nanoseconds = own.reduce((sum, each) => sum + each, 0)
  return childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), nanoseconds / 1e9)
}

/** Resident memory of a process and of its children, in bytes. */
export function residentBytes(pid: number): number {
  const own = Number(accountOf(`${pid}/statm`).split(' ')[1] ?? 0) * PAGE_BYTES
  return childrenOf(pid).reduce((sum, child) => sum + residentBytes(child), own)
}

function childrenOf(pid: number): number[] {
  return tasksOf(pid).flatMap((task) =>
    accountOf(`${pid}/task/${task}/children`).split(' ').filter(Boolean).map(Number),
  )
}

function tasksOf(pid: number): string[] {
  return unlessEnded(() => readdirSync(`/proc/${pid}/task`)) ?? []
}

/** A file of /proc; `''` when its process or thread has ended. */
export function accountOf(path: string): string {
  return unlessEnded(() => readFileSync(`/proc/${path}`, 'latin1')) ?? ''
}

function unlessEnded<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}
