import type { IncomingHttpHeaders } from 'node:http'
import { GatewayError, tooLarge, unauthorized } from '../../core/errors.ts'
import type { Events } from '../../core/events.ts'
import type { Clock } from '../../core/time.ts'
import { childUrl, type Entry, ResourceError, type SharedResource } from '../../resources/resource.ts'
import { permits } from '../../shares/permissions.ts'
import type { Store } from '../../store/store.ts'
import { headerOf, lockHeader, type WopiAnswer } from './answer.ts'
import {
  type FileState,
  type FileStates,
  lastModifiedOf,
  upstreamLockOf,
  versionOf,
  withoutUpstreamLock,
} from './file-state.ts'
import type { KeptBytes, KeptFile } from './kept-bytes.ts'
import { currentLock, decideLock, judgeSave, type Reading, type SaveVerdict, sameReading } from './locks.ts'
import { asWopiError } from './upstream.ts'
import { editedBy, type Holder, type WopiTokens } from './wopi-tokens.ts'

/** A PutFile that may be made: the token and the right to write were checked. */
export interface Save {
  readonly requestId: string
  readonly holder: Holder
  readonly resource: SharedResource
  readonly headers: IncomingHttpHeaders
  readonly body: AsyncIterable<Uint8Array>
  /** Bytes, when the editor says so. */
  readonly size: number | undefined
}

/** A save under way. */
interface BegunSave extends Save {
  /** Why its body ended early. */
  readonly bodyFailure: () => unknown
}

/** How a save is written. */
interface Plan {
  readonly wish: Wish
  readonly entry: Entry
  readonly verdict: SaveVerdict & { readonly type: 'write' }
  readonly size: number | undefined
}

/** What an editor says about a save. */
interface Wish {
  readonly lock: string | undefined
  readonly timestamp: string | undefined
  /** The last save of an editor that is being closed: nobody will try again. */
  readonly exit: boolean
  readonly overwrite: boolean
}

export interface SavingParts {
  readonly store: Store
  readonly states: FileStates
  readonly tokens: WopiTokens
  readonly kept: KeptBytes
  readonly events: Events
  readonly now: Clock
}

/** How long a process that died keeps others from saving the same file; a turn that lasts longer is renewed. */
const TURN_SECONDS = 60
/** Collabora’s words for “the document was changed by somebody else”, in its newer and older spelling. */
const CHANGED = { COOLStatusCode: 1010, LOOLStatusCode: 1010 }

/**
 * PutFile. Saves of one file come one after the other, in all processes. A save streams through; but what the editor will not
 * send again is put into the store first: the last save of an editor that closes, and a save that meets a foreign change.
 */
export function createSaving({ store, states, tokens, kept, events, now }: SavingParts) {
  const editedIn = ({ requestId, holder }: Save) => ({ requestId, ...editedBy(holder) })

  const spool = ({ grant, name, tokenHash }: Holder, body: AsyncIterable<Uint8Array>) =>
    kept.spool(grant, { name, by: tokenHash }, body)

  /** Where the person finds what could not be saved. @returns whether it is safe */
  async function keep(save: BegunSave, body: AsyncIterable<Uint8Array>, reason: string): Promise<boolean> {
    const { holder } = save
    const spooled = await spool(holder, body)
    if (!spooled.whole) {
      const copy = await putBeside(save, spooled.body, undefined, reason).finally(spooled.discard)
      return copy !== undefined
    }
    await settle(save, spooled.file, reason)
    return true
  }

  /** What is safe in the store is put beside the file where that is possible; of one token’s only the newest stays. */
  async function settle(save: BegunSave, file: KeptFile, reason: string): Promise<void> {
    const { grant, tokenHash } = save.holder
    const copy = reason === 'changed' ? await putBeside(save, kept.read(file), file.size, reason) : undefined
    if (copy === undefined) events.documentKept({ ...editedIn(save), reason, bytes: file.size, where: 'store' })
    await kept.dropOf(grant, tokenHash, copy === undefined ? file : undefined)
  }

  /** A copy in the same folder, when the folder is what was shared; a later one of the same token replaces it. */
  async function putBeside(
    save: BegunSave,
    body: AsyncIterable<Uint8Array>,
    size: number | undefined,
    reason: string,
  ): Promise<string | undefined> {
    const { holder, resource } = save
    if (!holder.inFolder) return undefined
    const url = holder.copy ?? childUrl(holder.url.replace(/[^/]*$/, ''), conflictName(holder.name, now()))
    try {
      await resource.write(url, body, { size, onlyNew: holder.copy === undefined })
      if (holder.copy === undefined) await tokens.copiedTo(holder, url)
      events.documentKept({ ...editedIn(save), reason, bytes: size ?? save.size ?? 0, where: 'beside' })
      return url
    } catch (error) {
      events.documentNotKept({ ...editedIn(save), reason, message: (error as Error).message })
      return undefined
    }
  }

  async function write(save: BegunSave, body: AsyncIterable<Uint8Array>, plan: Plan): Promise<WopiAnswer> {
    const { holder, resource } = save
    const { wish, verdict, size } = plan
    const startedAt = now()
    const begun = await states.change(holder.fileId, (state) => beginning(state, plan))
    const lockToken = upstreamLockOf(begun, startedAt)
    const conditions = { size, ifMatch: verdict.ifMatch, lockToken }
    const { etag } = await resource.write(holder.url, body, conditions).catch(async (error: unknown) => {
      throw await giveUp(save, plan, error, lockToken)
    })
    const after = await resource.stat(holder.url)
    const written = { etag: after?.etag ?? etag, modified: after?.modified, size: after?.size ?? size }
    return conclude(save, written, { wish, startedAt })
  }

  /** What a save that failed leaves. @returns why it failed */
  async function giveUp(
    { holder, resource, bodyFailure }: BegunSave,
    { entry }: Plan,
    error: unknown,
    lockToken: string | undefined,
  ): Promise<unknown> {
    // Where the sender may have written it after all, the next try finds that out.
    if (reasonOf(error) === 'unreachable' && bodyFailure() === undefined) return error
    await states.change(holder.fileId, withoutPending)
    if (reasonOf(error) !== 'changed' || lockToken === undefined) return error
    // The file is what it was: then it is the lock that is none any more (RFC 4918 §10.4.1).
    const after = await resource.stat(holder.url)
    if (after === undefined || !sameReading(after, entry)) return error
    await states.change(holder.fileId, (state) => withoutUpstreamLock(state, lockToken))
    return new ResourceError('locked', 'the lock at the sender has ended', { cause: error })
  }

  async function conclude(
    save: BegunSave,
    written: Reading,
    { wish, startedAt }: { wish: Wish; startedAt: number },
  ): Promise<WopiAnswer> {
    const { holder } = save
    const state = await states.change(holder.fileId, (state) => finished(state, written, wish))
    await tokens.served(holder, written, { bytes: true })
    // What could not be saved earlier is part of what was saved now.
    await kept.dropOf(holder.grant, holder.tokenHash)
    events.documentSaved({ ...editedIn(save), bytes: written.size, seconds: now() - startedAt })
    const lastModified = lastModifiedOf(written)
    return {
      status: 200,
      headers: { 'x-wopi-itemversion': versionOf(written, state) },
      json: lastModified === undefined ? {} : { LastModifiedTime: lastModified },
    }
  }

  /** The lock is an editor’s own again when the save adopts it. */
  function beginning(state: FileState, { wish, entry, verdict, size }: Plan): FileState {
    const { lock = '' } = wish
    const { etag, modified, size: before } = entry
    const adopted = verdict.adopts ? decideLock(undefined, { type: 'lock', lock }, now()) : undefined
    return {
      ...withoutPending(state),
      counter: state.counter + 1,
      ...(adopted?.granted && adopted.held && { lock: adopted.held }),
      ...(size !== undefined && { pending: { lock, size, from: { etag, modified, size: before } } }),
    }
  }

  function verdictFor({ holder }: Save, wish: Wish, entry: Entry, state: FileState): SaveVerdict {
    const { lock, timestamp } = wish
    const lastModified = lastModifiedOf(entry)
    return judgeSave({
      current: currentLock(state.lock, now()),
      lock,
      now: entry,
      lastModified,
      seen: holder.seen,
      written: state.written?.lock === lock ? state.written : undefined,
      recovered: isRecovered(state, lock, entry),
      timestamp,
      // An editor that was never told a time has none to leave out.
      overwrite: wish.overwrite && lastModified !== undefined,
    })
  }

  async function saveInTurn(save: BegunSave, wish: Wish, body: AsyncIterable<Uint8Array>, size: number | undefined) {
    const { holder, resource } = save
    const [entry, state] = await Promise.all([resource.stat(holder.url), states.read(holder.fileId)])
    if (entry === undefined || entry.isFolder) throw new ResourceError('missing', 'there is no such file')
    const verdict = verdictFor(save, wish, entry, state)
    if (verdict.type === 'write') return write(save, body, { wish, entry, verdict, size })
    return { verdict, current: currentLock(state.lock, now()) }
  }

  /** A save whose bytes are safe already: whatever becomes of it, they stay until they are at the sender. */
  async function saveSpooled(save: BegunSave, wish: Wish, file: KeptFile): Promise<WopiAnswer> {
    const attempt = () => saveInTurn(save, wish, kept.read(file), file.size)
    try {
      // A lock that was lost is known to be lost at the second try.
      const outcome = await attempt().catch((error) =>
        reasonOf(error) === 'locked' ? attempt() : Promise.reject(error),
      )
      if ('status' in outcome) return outcome
      await settle(save, file, outcome.verdict.type)
      return refusalOf(outcome.verdict, outcome.current)
    } catch (error) {
      await settle(save, file, reasonOf(error))
      if (reasonOf(error) === 'changed') return refusalOf({ type: 'changed' }, wish.lock ?? '')
      throw error
    }
  }

  async function saveStreamed(save: BegunSave, wish: Wish, body: AsyncIterable<Uint8Array>): Promise<WopiAnswer> {
    const watched = watch(body)
    try {
      const outcome = await saveInTurn(save, wish, watched.body, save.size)
      if ('status' in outcome) return outcome
      if (outcome.verdict.type === 'changed' && !(await keep(save, watched.body, 'changed'))) throw notKept()
      return refusalOf(outcome.verdict, outcome.current)
    } catch (error) {
      // What was read already is gone, and the editor sends it again: then the sender is not even asked.
      if (reasonOf(error) === 'token-ended' && !watched.begun()) await keep(save, watched.body, 'token-ended')
      throw error
    }
  }

  return async (asked: Save): Promise<WopiAnswer> => {
    const watched = watch(asked.body)
    const save = { ...asked, body: watched.body, bodyFailure: watched.failure }
    const { holder } = save
    const wish = wishOf(save.headers)
    if (!permits(holder.grant.permissions, 'write')) throw unauthorized('not_writable', 'The share is read-only.')
    if (holder.session === undefined && !wish.exit)
      throw unauthorized('wopi_token_ended', 'The session of the access token has ended.')
    return store.lock(`wopi save ${holder.fileId}`, TURN_SECONDS, async () => {
      try {
        if (!wish.exit) return await saveStreamed(save, wish, save.body)
        const spooled = await spool(holder, save.body)
        if (spooled.whole) return await saveSpooled(save, wish, spooled.file)
        return await saveStreamed(save, wish, spooled.body).finally(spooled.discard)
      } catch (error) {
        throw asWopiError(save.bodyFailure() ?? error)
      }
    })
  }
}

/** Who sends a body on sees only that it ended early; here it is known why, and whether any of it was read. */
function watch(source: AsyncIterable<Uint8Array>) {
  let begun = false
  let failure: unknown
  async function* read(): AsyncGenerator<Uint8Array> {
    begun = true
    try {
      yield* source
    } catch (error) {
      failure = error
      throw error
    }
  }
  return { body: read(), begun: () => begun, failure: () => failure }
}

/** Collabora and its kin say more about a save than others; without their timestamp the person chose to overwrite. */
function wishOf(headers: IncomingHttpHeaders): Wish {
  const said = (name: string) => headerOf(headers, `x-cool-wopi-${name}`) ?? headerOf(headers, `x-lool-wopi-${name}`)
  const timestamp = said('timestamp')
  const speaks = said('ismodifiedbyuser') !== undefined || said('isautosave') !== undefined
  return {
    lock: headerOf(headers, 'x-wopi-lock') || undefined,
    timestamp,
    exit: said('isexitsave') === 'true',
    overwrite: speaks && timestamp === undefined,
  }
}

/** A save whose answer got lost is not taken for somebody else’s: same lock, same size, and no longer what it was before. */
function isRecovered({ pending }: FileState, lock: string | undefined, entry: Entry): boolean {
  return (
    pending !== undefined && pending.lock === lock && pending.size === entry.size && pending.from.etag !== entry.etag
  )
}

function finished(state: FileState, written: Reading, { lock = '', timestamp }: Wish): FileState {
  return { ...withoutPending(state), counter: state.counter + 1, written: { ...written, lock, timestamp } }
}

function withoutPending({ pending: _, ...state }: FileState): FileState {
  return state
}

/** 409 with 1010 means that somebody else changed the file, and nothing else. */
function refusalOf(verdict: SaveVerdict, current: string): WopiAnswer {
  if (verdict.type === 'changed') return { status: 409, headers: lockHeader(current), json: CHANGED }
  return { status: 409, headers: lockHeader(current) }
}

function reasonOf(error: unknown): string {
  return error instanceof ResourceError ? error.failure : 'failed'
}

/** Not 409: the editor must not believe that its bytes are safe. */
function notKept() {
  return new GatewayError(
    500,
    'not_kept',
    'The file was changed by somebody else, and this version is too large to keep.',
  )
}

/** `report.odt` → `report (conflict 2026-08-31 09.30.00).odt`, in UTC. */
function conflictName(name: string, now: number): string {
  const [, stem = name, suffix = ''] = /^(.+?)(\.[^.]*)?$/.exec(name) ?? []
  const time = new Date(now * 1000).toISOString().slice(0, 19).replace('T', ' ').replaceAll(':', '.')
  return `${stem} (conflict ${time})${suffix}`
}

/** @throws {GatewayError} 413 */
export function refuseTooLarge(): never {
  throw tooLarge('file_too_large', 'The file is larger than this gateway takes.')
}
