import type { Awaitable } from '../../../core/awaitable.ts'
import { GatewayError } from '../../../core/errors.ts'
import type { Events } from '../../../core/events.ts'
import type { Clock } from '../../../core/time.ts'
import { ResourceError } from '../../../resources/resource.ts'
import type { Resources } from '../../../resources/resources.ts'
import { permits } from '../../../shares/permissions.ts'
import { stillGranted } from '../../../shares/records.ts'
import type { Store } from '../../../store/store.ts'
import { isAboutOne, wordsOf } from './content-errors.ts'
import type { Contents } from './contents-client.ts'
import type { Conflict, ContentState, MirrorNotes, QueuedChange } from './mirror-notes.ts'
import { type Saving, saveChange } from './save-back.ts'

/** Saves of one moment are one save. */
const SETTLE_SECONDS = 0.5
const RETRY_SECONDS = [5, 15, 60, 180, 600]
/** Who holds the saves of a home for longer is taken for dead. */
const LOCK_SECONDS = 3600
const QUEUE_BATCH = 500

interface SaverParts {
  readonly webapp: string
  readonly store: Store
  readonly notes: MirrorNotes
  readonly resources: Resources
  readonly now: Clock
  readonly events: Events
  readonly contentsOf: (name: string, token: string) => Contents
  readonly tokenOf: (name: string) => Awaitable<string | undefined>
}

/** Brings queued changes back to the sender’s side: one home at a time by one process, again and again until it worked. */
export function createSaver({ webapp, store, notes, resources, now, events, contentsOf, tokenOf }: SaverParts) {
  const timers = new Map<string, NodeJS.Timeout>()
  const failures = new Map<string, number>()

  function schedule(name: string, seconds: number): void {
    clearTimeout(timers.get(name))
    const timer = setTimeout(() => void run(name), seconds * 1000)
    timers.set(name, timer.unref())
  }

  async function run(name: string): Promise<void> {
    timers.delete(name)
    if (await isDone(name)) return void failures.delete(name)
    if (timers.has(name)) return
    const nth = failures.get(name) ?? 0
    failures.set(name, nth + 1)
    schedule(name, RETRY_SECONDS[Math.min(nth, RETRY_SECONDS.length - 1)] ?? 0)
  }

  /** Where the server does not run, the next launch goes on. */
  async function isDone(name: string): Promise<boolean> {
    try {
      const token = await tokenOf(name)
      return token === undefined || (await drain(name, token))
    } catch (err) {
      if (!(err instanceof GatewayError)) events.unexpected({ where: 'saving back', err })
      return false
    }
  }

  function drain(name: string, token: string): Promise<boolean> {
    return store.lock(`jupyterhub saves ${webapp} ${name}`, LOCK_SECONDS, () => drainAlone(name, token))
  }

  async function drainAlone(name: string, token: string): Promise<boolean> {
    const state = await notes.state(name)
    if (state?.root === undefined) return (await notes.changesOf(name, 1)).length === 0
    for (;;) {
      const queue = await notes.changesOf(name, QUEUE_BATCH)
      const due = queue.filter(({ change }) => change.kind !== 'path' || (change.notBefore ?? 0) <= now())
      if (queue.length === 0) await notes.updateState(name, ({ waiting: _waiting, ...rest }) => rest)
      if (due.length === 0) return queue.length === 0
      const waiting = await saveAll(name, state, due, contentsOf(name, token))
      if (waiting === undefined) continue
      await notes.updateState(name, (latest) => ({ ...latest, waiting }))
      return false
    }
  }

  /** @returns why some of them wait, in words for people */
  async function saveAll(
    name: string,
    { grant, root }: ContentState,
    due: readonly QueuedChange[],
    contents: Contents,
  ): Promise<string | undefined> {
    if (root === undefined) return undefined
    const onConflict = async (conflict: Conflict) => {
      await notes.updateState(name, (state) => ({ ...state, conflicts: [...state.conflicts, conflict] }))
      events.contentConflict({ webapp, name })
    }
    let waiting: string | undefined
    let changes = 0
    try {
      const granted = await stillGranted(store.shares, grant)
      if (granted === undefined || !permits(granted.permissions, 'write'))
        throw new ResourceError('forbidden', 'the share may no longer be changed')
      const resource = await resources.of(grant)
      // A server that we ask counts as used: while the other side takes nothing, it must not be kept from being idle.
      await resource.stat(root.url)
      const saving = { name, contents, resource, notes, root, now, onConflict }
      for (const queued of due) {
        const failure = await attempt(queued, saving)
        if (failure === undefined) changes += 1
        else waiting = tellWaiting(name, failure)
        if (failure !== undefined && !isAboutOne(failure)) break
      }
    } catch (error) {
      waiting = tellWaiting(name, error)
    }
    if (changes > 0) {
      await notes.updateState(name, (state) => ({ ...state, savedAt: now() }))
      events.contentSaved({ webapp, name, changes })
    }
    return waiting
  }

  /** @returns the failure of a peer */
  async function attempt(queued: QueuedChange, saving: Saving): Promise<unknown> {
    try {
      await saveChange(queued.change, saving)
      await notes.settle(queued)
      return undefined
    } catch (error) {
      if (wordsOf(error) === undefined) throw error
      return error
    }
  }

  /** @returns it in words for people */
  function tellWaiting(name: string, error: unknown): string {
    const words = wordsOf(error)
    if (words === undefined) throw error
    events.contentWaiting({ webapp, name, message: (error as Error).message })
    return words
  }

  return {
    /** Something is queued. */
    wake: (name: string): void => schedule(name, SETTLE_SECONDS),

    /** Saves what is queued, as far as that is possible now. @returns whether nothing is left */
    drain,
  }
}
