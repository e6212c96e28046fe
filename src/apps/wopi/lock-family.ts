import { badRequest } from '../../core/errors.ts'
import type { Clock } from '../../core/time.ts'
import { ResourceError, type SharedResource } from '../../resources/resource.ts'
import { permits } from '../../shares/permissions.ts'
import type { Store } from '../../store/store.ts'
import { lockHeader, type WopiAnswer } from './answer.ts'
import { type FileState, type FileStates, UPSTREAM_LOCK_SECONDS, versionOf, withoutUpstreamLock } from './file-state.ts'
import { currentLock, decideLock, type LockOperation } from './locks.ts'
import type { Holder } from './wopi-tokens.ts'

const LOCK_MAX = 1024
/** A WebDAV lock is taken anew when it is this old, so that it lasts as long as ours. */
const UPSTREAM_RENEW_SECONDS = 10 * 60

/** How long a process that died keeps others from the lock of the same file; a turn that lasts longer is renewed. */
const TURN_SECONDS = 15

export interface LockFamilyParts {
  readonly store: Store
  readonly states: FileStates
  readonly hostUrl: string
  readonly now: Clock
}

/**
 * LOCK, UNLOCK, REFRESH_LOCK and GET_LOCK: locks are ours, and stand at the sender too where it has any. What changes the lock of
 * a file comes one after the other, in all processes: ours and the sender’s go together.
 */
export function createLockFamily({ store, states, hostUrl, now }: LockFamilyParts) {
  /**
   * The lock of the sender that goes with ours; `'refused'`: somebody else has it locked there. The one that we know of counts
   * only while ours was held: else a process has died in the middle of unlocking.
   */
  async function mirror(
    resource: SharedResource,
    { fileId, url }: Holder,
    { before, upstreamLock }: { before: FileState | undefined; upstreamLock: FileState['upstreamLock'] },
  ): Promise<FileState['upstreamLock'] | 'refused'> {
    const isHeld = currentLock(before?.lock, now()) !== ''
    if (upstreamLock && isHeld && now() < upstreamLock.takenAt + UPSTREAM_RENEW_SECONDS) return upstreamLock
    if (upstreamLock) await resource.unlock(url, upstreamLock.token).catch(ignoreRefusal)
    try {
      const token = await takeUpstream(resource, url, `ocm-webapp-gateway, ${hostUrl}wopi/files/${fileId}`)
      return token === undefined ? undefined : { token, takenAt: now() }
    } catch (error) {
      if (isLocked(error)) return 'refused'
      ignoreRefusal(error)
      return undefined
    }
  }

  /** A lock in our own name was taken by a process that died before it could remember it: it keeps nobody out. */
  async function takeUpstream(resource: SharedResource, url: string, owner: string): Promise<string | undefined> {
    const wish = { seconds: UPSTREAM_LOCK_SECONDS, owner }
    try {
      return await resource.lock(url, wish)
    } catch (error) {
      const lost = isLocked(error) ? await resource.findLock(url, owner) : undefined
      if (lost === undefined) throw error
      await resource.unlock(url, lost)
      return resource.lock(url, wish)
    }
  }

  /** The sender has it locked: ours is given back, and the editor opens the file read-only. */
  async function giveBack(fileId: string, lock: string): Promise<WopiAnswer> {
    await states.change(fileId, (state) => (state.lock?.value === lock ? withoutLock(state) : state))
    return refused('', 'The file is locked at the sender.')
  }

  /** @returns the state after it, and the one that it was decided upon */
  async function decide({ fileId }: Holder, operation: LockOperation) {
    let before: FileState | undefined
    let decision = decideLock(undefined, operation, now())
    const state = await states.change(fileId, (current) => {
      before = current
      decision = decideLock(current.lock, operation, now())
      if (!decision.granted) return current
      return decision.held === undefined ? withoutLock(current) : { ...current, lock: decision.held }
    })
    return { before, state, decision }
  }

  async function unlock(holder: Holder, resource: SharedResource, operation: LockOperation): Promise<WopiAnswer> {
    const { fileId, url } = holder
    const { before, state, decision } = await decide(holder, operation)
    if (!decision.granted && decision.current !== '') return refused(decision.current)
    const token = before?.upstreamLock?.token
    if (token !== undefined) {
      await resource.unlock(url, token).catch(ignoreRefusal)
      await states.change(fileId, (current) => withoutUpstreamLock(current, token))
    }
    if (!decision.granted) return refused('')
    const entry = await resource.stat(url).catch(ignoreRefusal)
    return { status: 200, headers: entry ? { 'x-wopi-itemversion': versionOf(entry, state) } : {} }
  }

  async function lock(holder: Holder, resource: SharedResource, operation: LockOperation): Promise<WopiAnswer> {
    const { fileId, url } = holder
    const entry = await resource.stat(url)
    if (entry === undefined) throw new ResourceError('missing', 'there is no such file')
    const { before, state, decision } = await decide(holder, operation)
    if (!decision.granted) return refused(decision.current)
    const { upstreamLock } = state
    const mirrored = await mirror(resource, holder, { before, upstreamLock })
    if (mirrored === 'refused') return giveBack(fileId, operation.lock)
    if (mirrored !== upstreamLock) await states.change(fileId, (current) => withUpstreamLock(current, mirrored))
    return { status: 200, headers: { 'x-wopi-itemversion': versionOf(entry, state) } }
  }

  return {
    async getLock({ fileId }: Holder): Promise<WopiAnswer> {
      return { status: 200, headers: lockHeader(currentLock((await states.read(fileId)).lock, now())) }
    },

    /** Unlocking needs no right to write: a lock must not outlive a right. */
    async change(holder: Holder, resource: SharedResource, operation: LockOperation): Promise<WopiAnswer> {
      const isUnlock = operation.type === 'unlock'
      if (!isUnlock && !permits(holder.grant.permissions, 'write')) return refused('', 'The share is read-only.')
      const work = isUnlock ? unlock : lock
      return store.lock(`wopi lock ${holder.fileId}`, TURN_SECONDS, () => work(holder, resource, operation))
    },
  }
}

/** @throws {GatewayError} 400 `wopi_lock_missing`, `wopi_lock_malformed` */
export function checkLock(value: string | undefined): string {
  if (value === undefined || value === '') throw badRequest('wopi_lock_missing', 'X-WOPI-Lock is missing or empty.')
  if (value.length > LOCK_MAX || !/^[\x20-\x7e]+$/.test(value))
    throw badRequest('wopi_lock_malformed', `A lock is at most ${LOCK_MAX} characters of plain ASCII.`)
  return value
}

function refused(current: string, reason?: string): WopiAnswer {
  return { status: 409, headers: { ...lockHeader(current), ...(reason && { 'x-wopi-lockfailurereason': reason }) } }
}

function withoutLock({ lock: _, ...state }: FileState): FileState {
  return state
}

function withUpstreamLock({ upstreamLock: _, ...state }: FileState, lock: FileState['upstreamLock']): FileState {
  return lock === undefined ? state : { ...state, upstreamLock: lock }
}

function isLocked(error: unknown): boolean {
  return error instanceof ResourceError && error.failure === 'locked'
}

/** A sender that has no locks for us, or none now, does not keep anybody from editing: `If-Match` guards the file. */
function ignoreRefusal(error: unknown): undefined {
  if (!(error instanceof ResourceError)) throw error
}
