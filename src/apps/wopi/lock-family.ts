import { badRequest } from '../../core/errors.ts'
import type { Clock } from '../../core/time.ts'
import { ResourceError, type SharedResource } from '../../resources/resource.ts'
import { permits } from '../../shares/permissions.ts'
import { lockHeader, type WopiAnswer } from './answer.ts'
import { type FileState, type FileStates, versionOf } from './file-state.ts'
import { currentLock, decideLock, type LockOperation } from './locks.ts'
import type { Holder } from './wopi-tokens.ts'

const LOCK_MAX = 1024
const UPSTREAM_LOCK_SECONDS = 30 * 60
/** A WebDAV lock is taken anew when it is this old, so that it lasts as long as ours. */
const UPSTREAM_RENEW_SECONDS = 10 * 60

/** LOCK, UNLOCK, REFRESH_LOCK and GET_LOCK: locks are ours, and stand at the sender too where it has any. */
export function createLockFamily({ states, now }: { states: FileStates; now: Clock }) {
  /** The lock of the sender that goes with ours; `'refused'`: somebody else has it locked there. */
  async function mirror(
    resource: SharedResource,
    url: string,
    state: FileState,
  ): Promise<FileState['upstreamLock'] | 'refused'> {
    const { upstreamLock } = state
    if (upstreamLock !== undefined && now() < upstreamLock.takenAt + UPSTREAM_RENEW_SECONDS) return upstreamLock
    if (upstreamLock !== undefined) await resource.unlock(url, upstreamLock.token).catch(ignoreRefusal)
    try {
      const token = await resource.lock(url, { seconds: UPSTREAM_LOCK_SECONDS, owner: 'ocm-webapp-gateway' })
      return token === undefined ? undefined : { token, takenAt: now() }
    } catch (error) {
      if (error instanceof ResourceError && error.failure === 'locked') return 'refused'
      ignoreRefusal(error)
      return undefined
    }
  }

  /** The sender has it locked: ours is given back, and the editor opens the file read-only. */
  async function giveBack(fileId: string, lock: string): Promise<WopiAnswer> {
    await states.change(fileId, (state) => (state.lock?.value === lock ? without(state, 'lock') : state))
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
      return decision.held === undefined ? without(current, 'lock') : { ...current, lock: decision.held }
    })
    return { before, state, decision }
  }

  async function unlock(holder: Holder, resource: SharedResource, operation: LockOperation): Promise<WopiAnswer> {
    const { fileId, url } = holder
    const { before, state, decision } = await decide(holder, operation)
    if (!decision.granted) return refused(decision.current)
    if (before?.upstreamLock !== undefined) {
      await resource.unlock(url, before.upstreamLock.token).catch(ignoreRefusal)
      await states.change(fileId, (current) => without(current, 'upstreamLock'))
    }
    const entry = await resource.stat(url).catch(ignoreRefusal)
    return { status: 200, headers: entry ? { 'x-wopi-itemversion': versionOf(entry, state) } : {} }
  }

  async function lock(holder: Holder, resource: SharedResource, operation: LockOperation): Promise<WopiAnswer> {
    const { fileId, url } = holder
    const entry = await resource.stat(url)
    if (entry === undefined) throw new ResourceError('missing', 'there is no such file')
    const { state, decision } = await decide(holder, operation)
    if (!decision.granted) return refused(decision.current)
    const mirrored = await mirror(resource, url, state)
    if (mirrored === 'refused') return giveBack(fileId, operation.lock)
    if (mirrored !== state.upstreamLock)
      await states.change(fileId, (current) => ({
        ...without(current, 'upstreamLock'),
        ...(mirrored && { upstreamLock: mirrored }),
      }))
    return { status: 200, headers: { 'x-wopi-itemversion': versionOf(entry, state) } }
  }

  return {
    async getLock({ fileId }: Holder): Promise<WopiAnswer> {
      return { status: 200, headers: lockHeader(currentLock((await states.read(fileId)).lock, now())) }
    },

    /** Unlocking needs no right to write: a lock must not outlive a right. */
    async change(holder: Holder, resource: SharedResource, operation: LockOperation): Promise<WopiAnswer> {
      if (operation.type === 'unlock') return unlock(holder, resource, operation)
      if (!permits(holder.grant.permissions, 'write')) return refused('', 'The share is read-only.')
      return lock(holder, resource, operation)
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

function without(state: FileState, key: 'lock' | 'upstreamLock'): FileState {
  const { lock, upstreamLock, ...rest } = state
  if (key === 'lock') return { ...rest, ...(upstreamLock && { upstreamLock }) }
  return { ...rest, ...(lock && { lock }) }
}

/** A sender that has no locks for us, or none now, does not keep anybody from editing: `If-Match` guards the file. */
function ignoreRefusal(error: unknown): undefined {
  if (!(error instanceof ResourceError)) throw error
}
