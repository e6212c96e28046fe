import type { Webapp } from '../../config/schema.ts'
import { asGatewayError, gone } from '../../core/errors.ts'
import type { Session } from '../../sessions/session.ts'
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

/** A holder of a server’s lock that takes longer than this, beyond the start itself, is taken for dead. */
const LOCK_SECONDS = 600
const READY_CACHE_SECONDS = 3

export type Servers = ReturnType<typeof createServers>

/**
 * The private servers of one webapp, from the creation of their hub user to its deletion. What changes a server runs alone
 * among all processes on the store; every step can be repeated, and the record goes last, so that a sweep resumes what a
 * crash interrupted.
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
      await exclusively(name, async () => {
        cancelled.throwIfAborted()
        const { senderDomain, shareId } = session.grant
        const record = (await records.get(name)) ?? { name, senderDomain, shareId, token: undefined }
        await records.put(record)
        await hub.ensureUser(name)
        await spawn(hub, {
          name,
          scope: session.scope,
          userOptions: fillTexts(options.serverOptions, (text) => fillTemplate(text, session)),
          timeoutSeconds: options.startTimeout,
          report,
          cancelled,
        })
        await tokens.mint(record)
      })
      events.appStarted({ webapp, name, seconds: now() - begun })
    } catch (error) {
      failed(name, error)
      throw error
    }
  }

  /** Token, then server: whoever asks from then on has to start it again. */
  async function stop(record: ServerRecord): Promise<void> {
    const { name, token } = record
    readyUntil.delete(name)
    if (token !== undefined) {
      await hub.deleteToken(name, token.id)
      await records.put({ ...record, token: undefined })
    }
    await untilSettled(async () => (await hub.stopServer(name)) === 'stopped')
  }

  async function remove(name: string): Promise<void> {
    const begun = now()
    const record = await records.get(name)
    if (record === undefined) return
    await stop(record)
    await untilSettled(async () => (await hub.deleteUser(name)) === 'deleted')
    await records.delete(name)
    lastUsed.delete(name)
    events.appReleased({ webapp, name, seconds: now() - begun })
  }

  /** Neither a request of ours, nor (by the hub’s account, which counts kernels too) anything else for so long. */
  async function isIdle(name: string): Promise<boolean> {
    const since = now() - options.stopWhenIdle
    if ((lastUsed.get(name) ?? openedAt) > since) return false
    const server = await hub.findServer(name)
    return server === undefined || (server.ready && (server.lastActivity ?? 0) <= since)
  }

  function failed(name: string, error: unknown): void {
    const { reason, message, detail } = asGatewayError(error)
    events.appFailed({ webapp, name, reason, message, detail })
  }

  return {
    records,
    failed,

    /** Starts the session’s server, or joins its start, and mints its token. @throws {GatewayError} for the waiting person */
    start(session: Session, report: Report): Promise<void> {
      const name = hubUserOf(session.grant)
      lastUsed.set(name, now())
      return starts.join(name, report, (tell, cancelled) => start(session, name, tell, cancelled))
    },

    /** Whether the server runs and we hold a token for it; `true` is remembered for a few seconds. */
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

    /** Stops and removes it for good. A start that goes on in this process ends at once; in another, it is waited for. */
    release(name: string): Promise<void> {
      starts.abort(name, gone('share_closed', 'The share was closed while its notebook server was starting.'))
      return exclusively(name, () => remove(name))
    },

    /** Removes it when nobody has the share open, stops it when nobody uses it. */
    async tidy(name: string, isClaimed: () => Promise<boolean>): Promise<void> {
      if (starts.isGoingOn(name)) return
      if (!(await isClaimed())) {
        await exclusively(name, async () => void ((await isClaimed()) || (await remove(name))))
      }
    },
  }
}
