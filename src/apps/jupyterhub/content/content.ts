import type { Webapp } from '../../../config/schema.ts'
import type { Awaitable } from '../../../core/awaitable.ts'
import { asGatewayError } from '../../../core/errors.ts'
import type { Session } from '../../../sessions/session.ts'
import type { Grant } from '../../../shares/grant.ts'
import { permits } from '../../../shares/permissions.ts'
import type { AppTools, Description, InspectedRequest, Intervention, Notice, ReadBody, Report } from '../../app.ts'
import { hubUserOf } from '../hub-user.ts'
import type { JupyterhubOptions } from '../options.ts'
import { type Bringing, bringPlan } from './bring.ts'
import { changesOf, type Intent, intentOf } from './changes.ts'
import { bringFailure, contentMissing, contentTimeout } from './content-errors.ts'
import { createContents } from './contents-client.ts'
import { describeContent } from './description.ts'
import { type ContentState, createMirrorNotes, type LeftOut } from './mirror-notes.ts'
import { isBelow } from './paths.ts'
import { createSaver } from './saver.ts'
import { walk } from './walk.ts'

/** A PATCH names where something moves to. */
const MAX_PATCH_BYTES = 64 * 1024
/** JupyterLab uploads in pieces of 1 MiB, which are longer in base64; what is longer than this is a whole notebook. */
const PIECE_BYTES = { from: 1024 * 1024, to: 4 * 1024 * 1024 }
const ALL = 1_000_000
/** Pages without scripts cannot show it; they go on then. */
const NOTICE_SECONDS = 60

interface ContentTools extends Pick<AppTools, 'store' | 'now' | 'events' | 'outbound' | 'resources'> {
  /** The token of a running server whose content is there. */
  readonly tokenOf: (name: string) => Awaitable<string | undefined>
}

/** What a start of a server is told about its content. */
export interface ContentStart {
  readonly session: Session
  readonly token: string
  readonly report: Report
  readonly cancelled: AbortSignal
}

/**
 * The shared files in the servers of one webapp: brought at every launch, and what people save there brought back. Nothing
 * of them touches our own disk.
 */
export function createContent({ name: webapp, upstream, options }: Webapp<JupyterhubOptions>, tools: ContentTools) {
  const { store, now, events, outbound, resources, tokenOf } = tools
  const { bytes, entries, time } = options.contentLimits
  const notes = createMirrorNotes(webapp, { notes: store.notes, now })
  const contentsOf = (name: string, token: string) =>
    createContents({ outbound, serverUrl: `${upstream}user/${name}/`, token })
  const saver = createSaver({ webapp, store, notes, resources, now, events, contentsOf, tokenOf })
  const disturbances = new Map<string, Promise<unknown>>()

  /** While `work` runs, requests through this process that would change this path wait. */
  async function undisturbed<T>(name: string, path: string, work: () => Promise<T>): Promise<T> {
    const key = `${name} ${path}`
    const running = work().finally(() => disturbances.delete(key))
    disturbances.set(
      key,
      running.catch(() => {}),
    )
    return running
  }

  async function isPending(name: string, path: string): Promise<boolean> {
    const queue = await notes.changesOf(name, ALL)
    const places = queue.flatMap(({ change }) => (change.kind === 'move' ? [change.path, change.to] : [change.path]))
    return places.some((place) => place === path || isBelow(path, place))
  }

  async function bring(name: string, { session: { grant }, token, report, cancelled }: ContentStart): Promise<void> {
    const before = await keepGrant(name, grant)
    if (grant.share.webdav === undefined) return before ? undefined : give(name, noFiles(grant.senderDomain))
    if (await hasUnsaved(name)) {
      report({ percent: 0, message: 'Saving what was changed last time…' })
      await saver.drain(name, token)
    }
    const timeout = AbortSignal.timeout(time * 1000)
    try {
      const resource = await resources.of(grant)
      await bringAll(grant, before, {
        name,
        contents: contentsOf(name, token),
        resource,
        notes,
        isPending: (path) => isPending(name, path),
        undisturbed: (path, work) => undisturbed(name, path, work),
        report,
        signal: AbortSignal.any([cancelled, timeout]),
      })
    } catch (error) {
      cancelled.throwIfAborted()
      throw timeout.aborted ? contentTimeout(grant.senderDomain, time) : bringFailure(error, grant.senderDomain)
    }
  }

  /** @returns what was known before this launch */
  async function keepGrant(name: string, grant: Grant): Promise<ContentState | undefined> {
    const before = await notes.state(name)
    const fresh = { root: undefined, leftOut: NOTHING_LEFT_OUT, conflicts: [] }
    await notes.putState(name, { ...fresh, ...before, grant, unsavedSince: undefined })
    return before
  }

  async function bringAll({ share, senderDomain }: Grant, before: ContentState | undefined, parts: Bringing) {
    const { name, resource, report, signal } = parts
    const began = now()
    const onFound = (found: number) =>
      report({ percent: 0, message: `Looking at what is shared: ${found.toLocaleString('en')} files and folders…` })
    onFound(0)
    const plan = await walk(resource, { share, limits: { bytes, entries }, signal, onFound })
    if (plan === undefined) throw contentMissing(senderDomain)
    await notes.updateState(name, (state) => ({ ...state, root: plan.root }))
    const { leftOut, ...brought } = await bringPlan(plan, parts)
    const listed = leftOut.toSorted((a, b) => a.path.localeCompare(b.path))
    const lost = await lostCopies(before, parts)
    await notes.updateState(name, (state) => ({
      ...state,
      leftOut: { total: listed.length, listed },
      conflicts: state.conflicts.filter(({ copy }) => !lost.has(copy)),
    }))
    events.contentBrought({ webapp, name, ...brought, leftOut: listed.length, seconds: now() - began })
    await give(name, noticeOf(listed, before))
  }

  /** Copies of conflicts that somebody has cleared away. */
  async function lostCopies(before: ContentState | undefined, { contents }: Bringing): Promise<Set<string>> {
    const copies = (before?.conflicts ?? []).map(({ copy }) => copy)
    const found = await Promise.all(copies.map((copy) => contents.stat(copy)))
    return new Set(copies.filter((_copy, index) => found[index] === undefined))
  }

  async function give(name: string, notice: Notice | undefined): Promise<void> {
    const noticeUntil = notice && now() + NOTICE_SECONDS
    await notes.updateState(name, (state) => ({ ...state, notice, noticeUntil }))
  }

  const hasUnsaved = async (name: string): Promise<boolean> => (await notes.changesOf(name, 1)).length > 0

  async function remember(session: Session, intent: Intent, request: InspectedRequest, readBody: ReadBody) {
    const name = hubUserOf(session.grant)
    const maxBytes = bodyToRead(intent, request)
    const body = maxBytes === undefined ? undefined : await readBody(maxBytes)
    for (const change of changesOf(intent, body && asJson(body), now())) await notes.queue(name, change)
    await disturbances.get(`${name} ${intent.path}`)
    return { ...(body && { body }), answered: () => saver.wake(name) }
  }

  return {
    /** Whether servers get files from us at all. */
    isOurs: options.content === 'webdav',

    /** How long a start may take on top of the server’s own, in seconds. */
    seconds: options.content === 'webdav' ? time : 0,

    /**
     * Makes the home of a running server what is shared, after what waited there was saved.
     *
     * @throws {GatewayError} for who waits
     */
    bring,

    /** A home that has its content stays as it is when the sender’s side cannot be asked again. */
    async keepStale(name: string, { senderDomain }: Grant, error: unknown): Promise<void> {
      const { reason, message } = asGatewayError(error)
      if (!reason.startsWith('content_')) throw error
      events.contentStale({ webapp, name, reason, message })
      await give(name, staleFiles(senderDomain, message))
    },

    async hasNotice(name: string): Promise<boolean> {
      return ((await notes.state(name))?.noticeUntil ?? 0) > now()
    },

    /** What people should know before they go on; told once. */
    async takeNotice(name: string): Promise<Notice | undefined> {
      const { notice } = (await notes.state(name)) ?? {}
      if (notice !== undefined) await give(name, undefined)
      return notice
    },

    /** Keeps the changes that a request is about to make, durably, before it goes on. */
    intervene(session: Session, request: InspectedRequest, readBody: ReadBody): Promise<Intervention> | undefined {
      const { permissions, share } = session.grant
      const goesBack = options.content === 'webdav' && share.webdav !== undefined && permits(permissions, 'write')
      const intent = goesBack ? intentOf(request) : undefined
      return intent && remember(session, intent, request, readBody)
    },

    hasUnsaved,

    /** Saves what waits, as far as that is possible now. @returns whether nothing is left */
    drain: saver.drain,

    /** A launch has brought a newer token: what waits is tried again. */
    async wake(name: string): Promise<void> {
      if (await hasUnsaved(name)) saver.wake(name)
    },

    /** What a stopped gateway left, for servers that still run. */
    async resume(): Promise<void> {
      for (const name of await notes.waiting()) saver.wake(name)
    },

    async describe({ grant }: Session): Promise<Description> {
      if (options.content !== 'webdav') return {}
      const name = hubUserOf(grant)
      return { content: describeContent(await notes.state(name), await notes.changesOf(name, ALL), grant) }
    },

    /** Since when changes are kept for a share that nobody has open; from now on, when they were not yet. Epoch seconds. */
    async unsavedSince(name: string): Promise<number> {
      const since = (await notes.state(name))?.unsavedSince ?? now()
      await notes.updateState(name, (state) => ({ ...state, unsavedSince: since }))
      return since
    },

    forget: notes.forget,

    /** How many changes are lost when everything is forgotten now. */
    unsaved: async (name: string): Promise<number> => (await notes.changesOf(name, ALL)).length,
  }
}

function staleFiles(senderDomain: string, why: string): Notice {
  const text = `${why} You see them as they were the last time; what you save is kept until ${senderDomain} can be reached.`
  return { heading: 'The files may be older than in their cloud', text, items: [], more: 0 }
}

const NOTHING_LEFT_OUT = { total: 0, listed: [] }
const MAX_NOTICED = 100

function noFiles(senderDomain: string): Notice {
  return {
    heading: 'The files did not come along',
    text: `${senderDomain} shares this without saying where its files are. The notebook server is empty; what you do there stays there.`,
    items: [],
    more: 0,
  }
}

/** Only what is new is worth stopping for. */
function noticeOf(leftOut: readonly LeftOut[], before: ContentState | undefined): Notice | undefined {
  const known = new Set(before?.leftOut.listed.map(({ path }) => path))
  const isNews =
    leftOut.length > (before?.leftOut.total ?? 0) || leftOut.slice(0, MAX_NOTICED).some(({ path }) => !known.has(path))
  if (leftOut.length === 0 || !isNews) return undefined
  const items = leftOut.slice(0, MAX_NOTICED).map(({ path, why }) => ({ what: path, why }))
  const text = 'Everything else is there. Nothing was changed in the cloud it comes from.'
  return { heading: 'Some files were left out', text, items, more: leftOut.length - items.length }
}

/** How much of the body has to be read to know what the request changes; `undefined`: nothing of it. */
function bodyToRead({ method }: Intent, { headers }: InspectedRequest): number | undefined {
  if (method === 'PATCH') return MAX_PATCH_BYTES
  const length = Number(headers['content-length'])
  const mayBePiece = method === 'PUT' && length >= PIECE_BYTES.from && length <= PIECE_BYTES.to
  return mayBePiece ? PIECE_BYTES.to : undefined
}

function asJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}
