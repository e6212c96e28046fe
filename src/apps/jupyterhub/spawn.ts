import { setTimeout as wait } from 'node:timers/promises'
import { badGateway, type GatewayError, gatewayTimeout } from '../../core/errors.ts'
import type { Report } from '../app.ts'
import type { HubClient } from './hub-client.ts'
import type { SpawnEvent } from './spawn-events.ts'
import { untilSettled } from './until-settled.ts'

const MAX_WORDS = 500
const PAUSE_MS = 200

interface Spawn {
  /** An existing hub user. */
  readonly name: string
  /** Path of its server as we and the browser know it. */
  readonly scope: string
  readonly userOptions: unknown
  readonly timeoutSeconds: number
  readonly report: Report
  /** Its reason is thrown when it fires. */
  readonly cancelled: AbortSignal
}

/**
 * Starts a user’s default server, unless it runs, and waits until it answers.
 *
 * @throws {GatewayError} 502 `spawn_failed` with the hub’s own words, 502 `hub_path`, 504 `start_timeout`
 */
export async function spawn(hub: HubClient, order: Spawn): Promise<void> {
  const timeout = AbortSignal.timeout(order.timeoutSeconds * 1000)
  const ended = new AbortController()
  const signal = AbortSignal.any([order.cancelled, timeout, ended.signal])
  try {
    const answered = requestStart(hub, order, signal)
    const [refusal] = await Promise.all([answered, reportUntil(answered, hub, order, signal)])
    const outcome = await follow(hub, order, signal)
    if (!outcome?.ready) throw spawnFailed(outcome?.message || refusal)
    checkPath(outcome, order)
  } catch (error) {
    order.cancelled.throwIfAborted()
    if (timeout.aborted) throw startTimeout(order)
    throw error
  } finally {
    ended.abort()
  }
}

/**
 * Orders the start, once an earlier server has stopped.
 *
 * @returns why the hub did not take the order: it may run already, or have failed at once; the progress stream knows
 */
async function requestStart(hub: HubClient, { name, userOptions }: Spawn, signal: AbortSignal): Promise<string> {
  let refusal = ''
  await untilSettled(async () => {
    signal.throwIfAborted()
    const answer = await hub.startServer(name, userOptions)
    refusal = answer.accepted ? '' : answer.words
    return answer.accepted || (await hub.findServer(name))?.pending !== 'stop'
  })
  return refusal
}

/**
 * The hub holds its answer back while the start is quick (10 s); people should see the progress all the same. How a stream
 * ends says nothing until then: it may be about an earlier start.
 */
async function reportUntil(
  answered: Promise<unknown>,
  hub: HubClient,
  order: Spawn,
  signal: AbortSignal,
): Promise<void> {
  let waiting = true
  const answer = answered.finally(() => {
    waiting = false
  })
  while (waiting) {
    await Promise.race([answer, wait(PAUSE_MS, undefined, { signal })])
    if (waiting) await follow(hub, order, signal)
  }
}

/** Reports until the stream says how the start ended; `undefined` when it does not. */
async function follow(hub: HubClient, { name, report }: Spawn, signal: AbortSignal): Promise<SpawnEvent | undefined> {
  for await (const event of hub.progress(name, signal)) {
    if (event.ready || event.failed) return event
    report({ percent: Math.min(Math.max(event.progress, 0), 100), message: event.message })
  }
  return undefined
}

/** Where the hub serves its users elsewhere (a host for each, another base path), nothing we proxy would be theirs. */
function checkPath({ url }: SpawnEvent, { scope }: Spawn): void {
  if (url === undefined || url.startsWith(scope)) return
  const message = `The notebook service has this server at another address than this gateway. Its operator has to give both the same path, and no subdomain_host to the hub.`
  throw badGateway('hub_path', message, { detail: { url, scope } })
}

function spawnFailed(words: string): GatewayError {
  const text = words
    .replace(/^Spawn failed:?/, '')
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim()
  const why = text === '' ? 'the notebook service does not say why' : text.slice(0, MAX_WORDS)
  return badGateway('spawn_failed', `The notebook server did not start: ${why}`)
}

function startTimeout({ timeoutSeconds }: Spawn): GatewayError {
  return gatewayTimeout(
    'start_timeout',
    `The notebook server did not start within ${timeoutSeconds} seconds. It may still come up: try again.`,
  )
}
