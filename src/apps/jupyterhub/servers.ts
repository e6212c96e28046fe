import { setTimeout as wait } from 'node:timers/promises'
import type { Webapp } from '../../config/schema.ts'
import { asGatewayError, gone } from '../../core/errors.ts'
import type { Session } from '../../sessions/session.ts'
import type { Workload } from '../../store/store.ts'
import { type AppTools, type IsClaimed, type Report, unwatched } from '../app.ts'
import { fillTemplate } from '../headers.ts'
import { type ContentStart, createContent } from './content/content.ts'
import type { HubClient } from './hub-client.ts'
import { hubUserOf } from './hub-user.ts'
import { createJoinedStarts } from './joined-starts.ts'
import { fillTexts, type JupyterhubOptions } from './options.ts'
import { createServerRecords, type ServerRecord } from './server-records.ts'
import { spawn } from './spawn.ts'
import { createTokens } from './tokens.ts'
import { untilSettled } from './until-settled.ts'

/** Who holds a server for longer than this, beyond the time of a start, is taken for dead. */
const LOCK_SECONDS = 600
const READY_CACHE_SECONDS = 3
/** A launch looks at the shared files again, unless that was done for another a moment ago. */
const FRESH_SECONDS = 5
/** For a look at the files again, before a page says how it goes. */
const PATIENCE_SECONDS = 3
/** Of the bar that people see, when files have to come after the start. */
const START_SHARE = 0.4

export type Servers = ReturnType<typeof createServers>

/**
 * The private servers of one webapp, from the creation of their hub user to its deletion. What changes a server runs alone
 * among all processes on the store. Every step can be repeated, and the record goes last: a sweep resumes what a crash
 * interrupted.
 */
export function createServers(
  configured: Webapp<JupyterhubOptions>,
  hub: HubClient,
  tools: Pick<AppTools, 'store' | 'recentWorkloads' | 'sealer' | 'now' | 'events' | 'outbound' | 'resources'>,
) {
  const { name: webapp, options } = configured
  const { store, now, events } = tools
  const records = createServerRecords(webapp, tools)
  const starts = createJoinedStarts()
  const tokens = createTokens({ hub, records, now, exclusively })
  const content = createContent(configured, { ...tools, tokenOf: tokens.value })
  const readyUntil = new Map<string, number>()
  const lastUsed = new Map<string, number>()
  const openedAt = now()

  function exclusively<T>(name: string, work: () => Promise<T>): Promise<T> {
    return store.lock(`jupyterhub ${webapp} ${name}`, options.startTimeout + content.seconds + LOCK_SECONDS, work)
  }

  async function start(session: Session, name: string, report: Report, cancelled: AbortSignal): Promise<void> {
    const begun = now()
    try {
      await exclusively(name, () => startAlone(session, name, report, cancelled))
      events.appStarted({ webapp, name, seconds: now() - begun })
    } catch (error) {
      tellFailure(name, error)
      throw error
    }
  }

  async function startAlone(session: Session, name: string, report: Report, cancelled: AbortSignal): Promise<void> {
    cancelled.throwIfAborted()
    if (content.isOurs && (await isFresh(name, session))) return
    const record = await beginRecord(session, name)
    await hub.ensureUser(name)
    const userOptions = fillTexts(options.serverOptions, (text) => fillTemplate(text, session))
    const { startTimeout: timeoutSeconds } = options
    const tellStart = content.isOurs ? partOf(report, 0, START_SHARE) : report
    await spawn(hub, { name, scope: session.scope, userOptions, timeoutSeconds, report: tellStart, cancelled })
    const token = await tokens.mint(record)
    if (content.isOurs) await fill(record, { session, token, report: partOf(report, START_SHARE, 1), cancelled })
    await putFilled(name)
  }

  /** Nobody is let in until the content is there, unless it is there already. */
  async function beginRecord({ grant: { senderDomain, shareId } }: Session, name: string): Promise<ServerRecord> {
    const former = await records.get(name)
    const isFilled = former?.filledAt !== undefined && (await isRunning(name))
    const record = isFilled ? former : { name, senderDomain, shareId, token: former?.token, filledAt: undefined }
    await records.put(record)
    return record
  }

  async function fill({ name, filledAt }: ServerRecord, start: ContentStart): Promise<void> {
    try {
      await content.bring(name, start)
    } catch (error) {
      if (filledAt === undefined) throw error
      await content.keepStale(name, start.session.grant, error)
    }
  }

  async function putFilled(name: string): Promise<void> {
    const record = await records.get(name)
    if (record !== undefined) await records.put({ ...record, filledAt: now() })
  }

  async function isRunning(name: string): Promise<boolean> {
    if (now() < (readyUntil.get(name) ?? 0)) return true
    const ready = (await hub.findServer(name))?.ready === true
    if (ready) readyUntil.set(name, now() + READY_CACHE_SECONDS)
    return ready
  }

  /** Whether the server runs, we hold a token for it, and its content is that of this launch. */
  async function isFresh(name: string, { openedAt }: Session): Promise<boolean> {
    const record = await records.get(name)
    if (record === undefined || !tokens.isValid(record) || record.filledAt === undefined) return false
    if (content.isOurs && record.filledAt + FRESH_SECONDS < openedAt) return false
    return isRunning(name)
  }

  /** Token first, then the server: who asks from now on has to start it again. */
  async function stop(record: ServerRecord): Promise<void> {
    const { name, token } = record
    readyUntil.delete(name)
    if (token !== undefined) {
      await hub.deleteToken(name, token.id)
      await records.put({ ...record, token: undefined, filledAt: undefined })
    }
    await untilSettled(async () => (await hub.stopServer(name)) === 'stopped')
  }

  async function deleteUser(name: string): Promise<void> {
    await untilSettled(async () => (await hub.deleteUser(name)) === 'deleted')
  }

  async function remove(name: string): Promise<void> {
    const begun = now()
    const found = await records.get(name)
    if (found === undefined || (await keepsUnsaved(found))) return
    // With the token that saving may have needed.
    await stop((await records.get(name)) ?? found)
    await deleteUser(name)
    await records.delete(name)
    await content.forget(name)
    lastUsed.delete(name)
    events.appReleased({ webapp, name, seconds: now() - begun })
  }

  /**
   * Saves what waits. What cannot be saved now is kept, with its home, for the next launch; not longer than configured, and
   * not when the share was revoked.
   */
  async function keepsUnsaved(record: ServerRecord): Promise<boolean> {
    const { name, senderDomain, shareId } = record
    if (!content.isOurs || !(await content.hasUnsaved(name))) return false
    const isRevoked = (await store.shares.get({ senderDomain, shareId }))?.state === 'revoked'
    if (!isRevoked && (await saved(record))) return false
    const until = isRevoked ? now() : (await content.unsavedSince(name)) + options.keepUnsaved
    const changes = await content.unsaved(name)
    if (until <= now()) {
      events.contentDropped({ webapp, name, changes, reason: isRevoked ? 'revoked' : 'too-old' })
      return false
    }
    if (record.token !== undefined) {
      await stop((await records.get(name)) ?? record)
      events.contentKept({ webapp, name, changes, until })
    }
    return true
  }

  /** Whether all that waits could be saved: only a running server has it. */
  async function saved(record: ServerRecord): Promise<boolean> {
    if (record.token === undefined || !(await isRunning(record.name))) return false
    const token = tokens.isValid(record) ? records.tokenValue(record) : await tokens.mint(record)
    return token !== undefined && content.drain(record.name, token)
  }

  async function stopIdle(name: string): Promise<void> {
    const begun = now()
    const record = await findIdle(name)
    if (record === undefined) return
    if (content.isOurs && (await content.hasUnsaved(name))) await saved(record)
    await stop((await records.get(name)) ?? record)
    events.appStopped({ webapp, name, seconds: now() - begun })
  }

  /** The record of a running server, when neither we nor the hub (which counts kernels and sockets too) saw it used lately. */
  async function findIdle(name: string): Promise<ServerRecord | undefined> {
    const since = now() - options.stopWhenIdle
    const record = await records.get(name)
    if (record?.token === undefined || (lastUsed.get(name) ?? openedAt) > since) return undefined
    const server = await hub.findServer(name)
    const inUse = server !== undefined && (!server.ready || (server.lastActivity ?? 0) > since)
    return inUse ? undefined : record
  }

  /** Waits for it no longer than people do without being told; who comes later sees how far it is. */
  async function lookAgain(name: string, session: Session, look: (report: Report) => Promise<void>): Promise<void> {
    const patience = session.openedAt + PATIENCE_SECONDS - now()
    if (!content.isOurs || patience <= 0 || (await isFresh(name, session))) return
    const record = await records.get(name)
    if (record?.filledAt === undefined || !tokens.isValid(record) || !(await isRunning(name))) return
    const waited = wait(patience * 1000, undefined, { ref: false })
    await Promise.race([look(unwatched).catch(() => {}), waited])
  }

  function tellFailure(name: string, error: unknown): void {
    const { reason, message, detail } = asGatewayError(error)
    events.appFailed({ webapp, name, reason, message, detail })
  }

  return {
    tellFailure,

    /** Starts the session’s server, or joins its start, and mints its token. @throws {GatewayError} for the waiting person */
    async start(session: Session, report: Report): Promise<void> {
      const name = hubUserOf(session.grant)
      lastUsed.set(name, now())
      await starts.join(name, report, (tell, cancelled) => start(session, name, tell, cancelled))
      const notice = report === unwatched ? undefined : await content.takeNotice(name)
      if (notice !== undefined) report({ percent: 100, message: 'Everything is ready.', notice })
    },

    /**
     * Whether the session can go to its server at once; that a server runs is remembered for a few seconds. A launch into one
     * that runs looks at the shared files again: mostly that is over while the launch waits.
     */
    async isReady(session: Session): Promise<boolean> {
      const name = hubUserOf(session.grant)
      await lookAgain(name, session, (report) => this.start(session, report))
      if (!(await isFresh(name, session)) || (await content.hasNotice(name))) return false
      if (content.isOurs) await content.wake(name)
      return true
    },

    intervene: content.intervene,
    describe: content.describe,
    resume: content.resume,

    /** A server that stopped without us, by a culler or with its hub: from now on it counts as not started. */
    async forgetIfGone(name: string): Promise<boolean> {
      if ((await hub.findServer(name))?.ready) return false
      await exclusively(name, async () => {
        const record = await records.get(name)
        if (record !== undefined) await stop(record)
      })
      return true
    },

    token: tokens.value,

    used: (name: string): void => void lastUsed.set(name, now()),

    /** Removes server and user for good. A start that goes on is cut short in this process, and waited for in another. */
    release(name: string): Promise<void> {
      starts.abort(name, gone('share_closed', 'The share was closed while its notebook server was starting.'))
      return exclusively(name, () => remove(name))
    },

    list: records.list,

    /** Removes the server when nobody has its share open, stops it when nobody uses it. */
    async tidy(workload: Workload, isClaimed: IsClaimed): Promise<void> {
      const { name } = workload
      if (starts.isGoingOn(name)) return
      if (await isClaimed(workload)) {
        if (await findIdle(name)) await exclusively(name, () => stopIdle(name))
        return
      }
      await exclusively(name, async () => {
        if (!(await isClaimed(workload))) await remove(name)
      })
    },

    /** Removes a hub user that nothing of ours knows, such as the store’s loss leaves behind. */
    removeStray(name: string): Promise<void> {
      return exclusively(name, async () => {
        if ((await records.get(name)) !== undefined) return
        await untilSettled(async () => (await hub.stopServer(name)) === 'stopped')
        await deleteUser(name)
        events.appReleased({ webapp, name, seconds: 0 })
      })
    },
  }
}

/** The same progress within a part of the bar. */
function partOf(report: Report, from: number, to: number): Report {
  return (progress) => report({ ...progress, percent: 100 * from + progress.percent * (to - from) })
}
