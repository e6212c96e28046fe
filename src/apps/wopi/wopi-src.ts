/** What a request’s URL says about the document that it belongs to. */
export interface NamedDocument {
  /** Every `WOPISrc` in it, its query left out; one that cannot be read is `''`. */
  readonly sources: readonly string[]
  /** OnlyOffice’s name of the document, made from the last segment of its `WOPISrc`. */
  readonly key: string | undefined
  /** A connection to a document, which must name it. */
  readonly mustName: boolean
}

/** Segments below `cool/` that are no document. */
const COOL_ENDPOINTS = new Set(['ws', 'clipboard', 'media', 'signature'])

/**
 * Reads the documents that a URL names: `WOPISrc` in the query (in any case, every copy), the encoded URL in Collabora’s
 * classic paths (`cool/<encoded>/ws`, also as `0x` and hex), and OnlyOffice’s `doc/<key>/c`.
 *
 * @param path raw, relative to the base path
 * @param query raw, `''` or starts with `?`
 */
export function documentsNamed(path: string, query: string): NamedDocument {
  const segments = path.split('/').filter(Boolean)
  const words = segments.map(wordOf)
  const [root = ''] = words
  const [, segment = ''] = segments
  const inCool = root === 'cool' && segment !== '' && !COOL_ENDPOINTS.has(segment)
  const at = VERSION.test(root) ? 1 : 0
  const key = words[at] === 'doc' ? segments[at + 1] : undefined
  // What is several segments to one reader, and one to another, names nothing that all agree about.
  const unread = /[/\\]/.test(root) ? [''] : []
  return {
    sources: [...querySources(query), ...(inCool ? [encodedSource(segment)] : []), ...unread],
    key: key === undefined ? undefined : decoded(key),
    mustName: root === 'cool' && words.at(-1) === 'ws',
  }
}

const VERSION = /^\d+\.\d+\.\d+[.-]\w+$/

/** A segment as any reader may take it. */
function wordOf(segment: string): string {
  return decoded(segment).replace(/;.*/s, '').toLowerCase()
}

/** Whether everything that a URL names is this one document. */
export function isNamed({ sources, key, mustName }: NamedDocument, wopiSrc: string): boolean {
  if (mustName && sources.length === 0) return false
  const keyFits = key === undefined || key === keyOf(wopiSrc) || key.startsWith(`view.${keyOf(wopiSrc)}.`)
  return keyFits && sources.every((source) => sameUrl(source, wopiSrc))
}

/** OnlyOffice’s key: the last segment, odd characters dropped, cut. */
function keyOf(wopiSrc: string): string {
  const last = new URL(wopiSrc).pathname.split('/').at(-1) ?? ''
  return last.replace(/[^0-9-.a-zA-Z_=]/g, '').slice(0, 240)
}

/** The same after what every reader of URLs does (case of the host, default port); an unread one is never the same. */
function sameUrl(source: string, wopiSrc: string): boolean {
  return URL.canParse(source) && new URL(source).href === new URL(wopiSrc).href
}

function querySources(query: string): string[] {
  return query
    .slice(1)
    .split('&')
    .map((pair) => pair.split('='))
    .filter(([name = '']) => decoded(name).toLowerCase() === 'wopisrc')
    .map(([, ...value]) => withoutQuery(decoded(value.join('='))))
}

function encodedSource(segment: string): string {
  const hex = /^0x((?:[0-9a-f]{2})+)$/i.exec(segment)?.[1]
  return withoutQuery(hex === undefined ? decoded(segment) : Buffer.from(hex, 'hex').toString('utf8'))
}

/** A document’s URL brings its token along in the query. */
function withoutQuery(url: string): string {
  return url.replace(/[?#].*$/s, '')
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return ''
  }
}
