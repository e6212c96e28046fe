import cluster, { type Worker } from 'node:cluster'
import { setTimeout as pause } from 'node:timers/promises'
import type { Events } from '../core/events.ts'
import { createLine, type Line, type Port } from '../core/line.ts'

const BEAT_MS = 1000
/** A worker that does not answer so many beats hangs, and is killed: revocations wait for it. */
const BEATS = 5
/** After the end of a worker; twice as long after each that did not live for `STEADY_SECONDS`. */
const PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000
const STEADY_SECONDS = 10

interface End {
  readonly code: number | null
  readonly signal: string | null
  /** Why it could not start, in its own words. */
  readonly problem: string | undefined
  /** How long it lived. */
  readonly seconds: number
}

/** One process that serves, from its fork to its end. */
export interface Member {
  /** 1, 2, …; who takes the place of one that ended has the same. */
  readonly worker: number
  readonly line: Line
  readonly pid: number
  /** Where it serves. Rejects when it cannot start, or ends before it serves. */
  readonly started: Promise<string>
  readonly ended: Promise<End>
  isServing(): boolean
  kill(): void
  /** Asks whether it is alive, and kills it when it has not answered for long. */
  beat(): void
}

interface Parts {
  readonly size: number
  readonly events: Events
  /** Says what to do with the questions of one that was just forked; `begin` is its first. */
  readonly serve: (member: Pick<Member, 'worker' | 'line'>) => void
  /** One has ended: the process is gone, and its sockets with it. */
  readonly onEnd: (member: Member) => void
}

export type Crew = ReturnType<typeof createCrew>

/** A number of processes that serve: forked, watched, and started again when they end. */
export function createCrew({ size, events, serve, onEnd }: Parts) {
  const members = new Map<number, Member>()
  let ending = false

  function fork(worker: number): Member {
    const member = forkMember(worker, serve, events)
    members.set(worker, member)
    void member.ended.then(() => {
      members.delete(worker)
      onEnd(member)
    })
    return member
  }

  async function keepUp(member: Member, wait = PAUSE_MS): Promise<void> {
    const { worker, pid, ended } = member
    const end = await ended
    if (ending) return
    events.workerEnded({ worker, pid, ...end })
    const next = end.seconds > STEADY_SECONDS ? PAUSE_MS : Math.min(wait * 2, LONGEST_PAUSE_MS)
    await pause(next)
    if (ending) return
    const successor = fork(worker)
    successor.started.catch(() => {})
    return keepUp(successor, next)
  }

  const beating = setInterval(() => {
    for (const member of members.values()) member.beat()
  }, BEAT_MS)

  return {
    /** @returns where they serve. @throws {Error} what the first says that cannot start */
    async start(): Promise<string> {
      const all = Array.from({ length: size }, (_, index) => fork(index + 1))
      const [url = ''] = await Promise.all(all.map(({ started }) => started))
      for (const member of all) void keepUp(member)
      return url
    },

    /** Those that live now. */
    all: (): Member[] => [...members.values()],

    /** The one at this place, if it serves. */
    serving(worker: number): Member | undefined {
      const member = members.get(worker)
      return member?.isServing() ? member : undefined
    },

    /** From now on none is started again. */
    end(): void {
      ending = true
    },

    /** Kills whoever is left. */
    async [Symbol.asyncDispose](): Promise<void> {
      ending = true
      clearInterval(beating)
      for (const member of members.values()) member.kill()
      await Promise.all([...members.values()].map(({ ended }) => ended))
    },
  }
}

function forkMember(worker: number, serve: Parts['serve'], events: Events): Member {
  const child = cluster.fork()
  const line = createLine(portOf(child))
  const [started, ended] = [Promise.withResolvers<string>(), Promise.withResolvers<End>()]
  const startedAt = performance.now()
  let [serving, problem] = [false, undefined as string | undefined]
  /** Beats that were not answered; `undefined`: nothing has been heard of it yet. */
  let unanswered: number | undefined
  const pid = child.process.pid ?? 0
  const kill = () => void child.process.kill('SIGKILL')

  serve({ worker, line })
  line.handle({
    failed(message: string) {
      problem = message
    },
    serving(url: string) {
      serving = true
      events.workerStarted({ worker, pid })
      started.resolve(url)
    },
  })
  child.once('message', () => {
    unanswered = 0
  })
  // It must not serve without us: no revocation would reach it.
  child.once('disconnect', kill)
  const end = (code: number | null, signal: string | null) => {
    started.reject(new Error(problem ?? `worker ${worker} ended before it served`))
    ended.resolve({ code, signal, problem, seconds: (performance.now() - startedAt) / 1000 })
  }
  child.once('exit', end)
  child.on('error', () => pid === 0 && end(null, null))

  return {
    worker,
    line,
    pid,
    started: started.promise,
    ended: ended.promise,
    isServing: () => serving,
    kill,
    beat() {
      if (unanswered === undefined) return
      if (unanswered === BEATS) {
        events.workerStuck({ worker, pid, seconds: (unanswered * BEAT_MS) / 1000 })
        kill()
      }
      unanswered += 1
      const answered = () => {
        unanswered = 0
      }
      line.ask('beat').then(answered, () => {})
    },
  }
}

function portOf(child: Worker): Port {
  return {
    // With a callback, it is no error that the channel has just ended.
    send: (message) => void child.process.send?.(message, () => {}),
    receive: (listener) => void child.on('message', listener),
  }
}
