import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** `USER_HZ`: the unit of times in /proc, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100
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

/** User and system time of a process and of its children (the workers of nginx), in seconds. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
  const own = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  return childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), own)
}

/** Resident memory of a process and of its children, in bytes. */
export function residentBytes(pid: number): number {
  const own = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * PAGE_BYTES
  return childrenOf(pid).reduce((sum, child) => sum + residentBytes(child), own)
}

function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
  )
}
