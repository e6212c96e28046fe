import { XMLParser } from 'fast-xml-parser'
import { unavailable } from '../../core/errors.ts'
import type { Events } from '../../core/events.ts'
import type { Outbound } from '../../core/outbound.ts'
import type { Clock } from '../../core/time.ts'
import { type ProofKeys, proofKey } from './proof.ts'

/** One thing that an editor does with one type of file. */
export interface EditorAction {
  /** `edit`, `view`, … */
  readonly name: string
  /** Lower case, without its dot. */
  readonly extension: string
  /** With its placeholders. */
  readonly urlsrc: string
}

/** What an editor tells about itself. */
export interface Discovery {
  /** The most public zone first. */
  readonly actions: readonly EditorAction[]
  readonly proofKeys: ProofKeys | undefined
  readonly flavour: 'collabora' | 'onlyoffice' | 'other'
}

export type EditorDiscovery = ReturnType<typeof createDiscovery>

const FRESH_SECONDS = 12 * 3600
/** Between two requests, whatever the reason: a flood of bad calls is no flood of requests. */
const PAUSE_SECONDS = 30
const TIMEOUT_SECONDS = 10
const MAX_BYTES = 8 * 1024 * 1024

/** The editor’s discovery: fetched when it is needed, and again after half a day, or earlier when a key does not fit. */
export function createDiscovery({
  url,
  webapp,
  outbound,
  events,
  now,
}: {
  url: string
  webapp: string
  outbound: Outbound
  events: Events
  now: Clock
}) {
  let known: Discovery | undefined
  let fetchedAt = Number.NEGATIVE_INFINITY
  let triedAt = Number.NEGATIVE_INFINITY
  let running: Promise<void> | undefined

  async function load(): Promise<void> {
    triedAt = now()
    try {
      known = await fetchDiscovery(url, outbound)
      fetchedAt = now()
      const { flavour, actions, proofKeys } = known
      const types = new Set(actions.map(({ extension }) => extension)).size
      events.editorDiscovered({ webapp, flavour, types, signs: proofKeys !== undefined })
    } catch (error) {
      const { message } = error as Error
      events.editorDiscoveryFailed({ webapp, message, stillServing: known !== undefined })
    }
  }

  function refresh(): Promise<void> {
    running ??= load().finally(() => {
      running = undefined
    })
    return running
  }

  const mayTry = () => now() >= triedAt + PAUSE_SECONDS

  return {
    /** @throws {GatewayError} 503 `editor_unknown` when the editor never answered yet */
    async get(): Promise<Discovery> {
      if (running !== undefined || (now() >= fetchedAt + FRESH_SECONDS && (known === undefined || mayTry()))) {
        const refreshed = refresh()
        if (known === undefined) await refreshed
      }
      if (known === undefined) throw unavailable('editor_unknown', 'The editor does not answer yet.')
      return known
    },

    /** What is known now. */
    peek: (): Discovery | undefined => known,

    /** Asks again, unless that was done a moment ago: keys may have changed. */
    async again(): Promise<void> {
      if (mayTry()) await refresh()
    },

    /** Asks now. @throws {Error} with what is wrong, for operators */
    probe: (): Promise<Discovery> => fetchDiscovery(url, outbound),
  }
}

async function fetchDiscovery(url: string, outbound: Outbound): Promise<Discovery> {
  const limits = { timeoutSeconds: TIMEOUT_SECONDS, maxBytes: MAX_BYTES, operatorNamed: true }
  const { status, body } = await outbound.request(url, { headers: { accept: 'text/xml, application/xml' } }, limits)
  if (status !== 200) throw new Error(`${url} answered ${status}`)
  return readDiscovery(body.toString('utf8'))
}

const LISTS = ['net-zone', 'app', 'action']
const ZONES_BY_PUBLICNESS = ['external-http', 'external-https']

type Attributes = Readonly<Record<string, string | undefined>>
interface Tree {
  readonly 'wopi-discovery'?: {
    readonly 'net-zone'?: readonly (Attributes & {
      readonly app?: readonly { readonly action?: readonly Attributes[] }[]
    })[]
    readonly 'proof-key'?: Attributes
  }
}

/** @throws {Error} when it is no WOPI discovery, or names no action */
export function readDiscovery(xml: string): Discovery {
  const parser = new XMLParser({
    ignoreAttributes: false,
    attributeNamePrefix: '',
    parseAttributeValue: false,
    isArray: (name) => LISTS.includes(name),
  })
  const root = (parser.parse(xml, true) as Tree)['wopi-discovery']
  const zones = (root?.['net-zone'] ?? []).toSorted((a, b) => publicness(b) - publicness(a))
  const actions = zones.flatMap(({ app = [] }) => app.flatMap(({ action = [] }) => action.flatMap(actionOf)))
  if (actions.length === 0) throw new Error('the answer names no action: it is no WOPI discovery')
  return { actions, proofKeys: proofKeysOf(root?.['proof-key']), flavour: flavourOf(actions) }
}

/** −1 for internal and unknown zones. */
function publicness({ name = '' }: Attributes): number {
  return ZONES_BY_PUBLICNESS.indexOf(name)
}

function actionOf({ name, ext, urlsrc }: Attributes): EditorAction[] {
  return name && ext && urlsrc ? [{ name, extension: ext.toLowerCase(), urlsrc }] : []
}

function proofKeysOf(attributes: Attributes | undefined): ProofKeys | undefined {
  const current = proofKey(attributes?.modulus, attributes?.exponent)
  return current && { current, old: proofKey(attributes?.oldmodulus, attributes?.oldexponent) }
}

function flavourOf(actions: readonly EditorAction[]): Discovery['flavour'] {
  const has = (pattern: RegExp) => actions.some(({ urlsrc }) => pattern.test(urlsrc))
  if (has(/\/(?:browser|loleaflet)\/[^/]+\/(?:cool|loleaflet)\.html/)) return 'collabora'
  return has(/\/hosting\/wopi\//) ? 'onlyoffice' : 'other'
}

/** Who may write gets the editor where there is one; who may not gets the viewer, or an editor that we give no right to write. */
export function chooseAction(
  { actions }: Discovery,
  name: string,
  { canWrite }: { canWrite: boolean },
): EditorAction | undefined {
  const extension = extensionOf(name)
  const wanted = canWrite ? ['edit', 'view'] : ['view', 'edit']
  for (const each of wanted) {
    const found = actions.find((action) => action.name === each && action.extension === extension)
    if (found !== undefined) return found
  }
  return undefined
}

/** The types that are opened at all, in the order of the alphabet. */
export function openableExtensions({ actions }: Discovery): string[] {
  const named = actions.filter(({ name }) => name === 'edit' || name === 'view').map(({ extension }) => extension)
  return [...new Set(named)].sort()
}

/** Lower case, without its dot; `''`: none. */
export function extensionOf(name: string): string {
  return /\.([^./]+)$/.exec(name)?.[1]?.toLowerCase() ?? ''
}

/**
 * The path and query of the editor’s page for a file: known placeholders filled in, others dropped. The host is not taken
 * over, since browsers reach the editor through the gateway.
 */
export function editorLocation({ urlsrc }: EditorAction, wopiSrc: string): string {
  const source = encodeURIComponent(wopiSrc)
  let named = false
  const filled = urlsrc.replace(/<([^=<>]+)=([^=<>&]+)&?>/g, (_, name: string, placeholder: string) => {
    if (placeholder !== 'WOPI_SOURCE') return ''
    named = true
    return `${name}=${source}&`
  })
  const { pathname, search } = new URL(filled, 'http://editor.invalid')
  const query = search.replace(/^\?|&+$/g, '')
  const parts = [query, ...(named ? [] : [`WOPISrc=${source}`])]
  return `${pathname}?${parts.filter((part) => part !== '').join('&')}`
}

/** The paths of all pages that editors’ actions lead to. */
export function pagePaths({ actions }: Discovery): Set<string> {
  return new Set(
    actions.map(({ urlsrc }) => new URL(urlsrc.replace(/<[^<>]*>/g, ''), 'http://editor.invalid').pathname),
  )
}
