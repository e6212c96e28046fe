import type { Webapp } from '../../config/schema.ts'
import { asGatewayError, gone } from '../../core/errors.ts'
import type { Session } from '../../sessions/session.ts'
import type { Workload } from '../../store/store.ts'
import type { AppTools, IsClaimed, Report } from '../app.ts'
import { fillTemplate } from '../headers.ts'
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

export type Servers = ReturnType<typeof createServers>

/**
 * The private servers of one webapp, from the creation of their hub user to its deletion. What changes a server runs alone
 * among all processes on the store. Every step can be repeated, and the record goes last: a sweep resumes what a crash
 * interrupted.
 */
export function createServers(
  { name: webapp, options }: Webapp<JupyterhubOptions>,
  hub: HubClient,
  tools: Pick<AppTools, 'store' | 'sealer' | 'now' | 'events'>,
) {
  const { store, now, events } = tools
  const records = createServerRecords(webapp, tools)
  const starts = createJoinedStarts()
  const tokens = createTokens({ hub, records, now, exclusively })
  const readyUntil = new Map<string, number>()
  const lastUsed = new Map<string, number>()
  const openedAt = now()

  function exclusively<T>(name: string, work: () => Promise<T>): Promise<T> {
    return store.lock(`jupyterhub ${webapp} ${name}`, options.startTimeout + LOCK_SECONDS, work)
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
    const { senderDomain, shareId } = session.grant
    const record = (await records.get(name)) ?? { name, senderDomain, shareId, token: undefined }
    await records.put(record)
    await hub.ensureUser(name)
    const userOptions = fillTexts(options.serverOptions, (text) => fillTemplate(text, session))
    const { startTimeout: timeoutSeconds } = options
    await spawn(hub, { name, scope: session.scope, userOptions, timeoutSeconds, report, cancelled })
    await tokens.mint(record)
  }

  /** Token first, then the server: who asks from now on has to start it again. */
  async function stop(record: ServerRecord): Promise<void> {
    const { name, token } = record
    readyUntil.delete(name)
    if (token !== undefined) {
      await hub.deleteToken(name, token.id)
      await records.put({ ...record, token: undefined })
    }
    await untilSettled(async () => (await hub.stopServer(name)) === 'stopped')
  }

  async function deleteUser(name: string): Promise<void> {
    await untilSettled(async () => (await hub.deleteUser(name)) === 'deleted')
  }

  async function remove(name: string): Promise<void> {
    const begun = now()
    const record = await records.get(name)
    if (record === undefined) return
    await stop(record)
    await deleteUser(name)
    await records.delete(name)
    lastUsed.delete(name)
    events.appReleased({ webapp, name, seconds: now() - begun })
  }

  async function stopIdle(name: string): Promise<void> {
    const begun = now()
    const record = await findIdle(name)
    if (record === undefined) return
    await stop(record)
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

  function tellFailure(name: string, error: unknown): void {
    const { reason, message, detail } = asGatewayError(error)
    events.appFailed({ webapp, name, reason, message, detail })
  }

  return {
    tellFailure,

    /** Starts the session’s server, or joins its start, and mints its token. @throws {GatewayError} for the waiting person */
    start(session: Session, report: Report): Promise<void> {
      const name = hubUserOf(session.grant)
      lastUsed.set(name, now())
      return starts.join(name, report, (tell, cancelled) => start(session, name, tell, cancelled))
    },

    /** Whether the server runs and we hold a token for it; a yes is remembered for a few seconds. */
    async isReady(name: string): Promise<boolean> {
      const record = await records.get(name)
      if (record === undefined || !tokens.isValid(record)) return false
      if (now() < (readyUntil.get(name) ?? 0)) return true
      const ready = (await hub.findServer(name))?.ready === true
      if (ready) readyUntil.set(name, now() + READY_CACHE_SECONDS)
      return ready
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
