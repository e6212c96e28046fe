import { setImmediate } from 'node:timers/promises'
import type { Entry } from './resource.ts'

/** Text stays text: an ETag such as `1e5` is no number. Character references are decoded. */
const AS_TEXT = {
  attributeNamePrefix: '@',
  attributeParsers: [],
  tagParsers: [() => undefined],
  entityDecoder: {},
}

/** Loaded by who needs it: the parser takes as much memory as a quarter of all our other code. */
export async function parseAsText(xml: string) {
  const { parseXML } = await import('webdav')
  return parseXML(xml, AS_TEXT as never)
}

/** Characters that are read in one go: a long listing takes seconds, and everybody else has a turn in between. */
const BATCH_CHARS = 16 * 1024
/** Of what is said about one file; our four properties take less than a tenth of it. */
const RESPONSE_MAX_CHARS = 64 * 1024
const ETAG = /^(?:W\/)?"[\x20\x21\x23-\x7e\x80-\xff]{0,256}"$/

/**
 * The files and folders that a `207 Multi-Status` answer describes (RFC 4918 §13, §14.16).
 *
 * @param base URL that was asked; members of another origin are left out
 * @throws {Error} when it is not such an answer, or says more of one file than anybody needs
 */
export async function readMultistatus(xml: string, base: string): Promise<Entry[]> {
  if (/<!DOCTYPE/i.test(xml)) throw new Error('a multistatus has no document type')
  const found: Entry[] = []
  for (const batch of batchesOf(xml)) {
    found.push(...(await readBatch(batch, base)))
    if (batch.length >= BATCH_CHARS) await setImmediate()
  }
  return found
}

/** As sent, when it is one that can be sent back (RFC 9110 §8.8.3) and is of a sensible length. */
export function readEtag(value: unknown): string | undefined {
  return typeof value === 'string' && ETAG.test(value) ? value : undefined
}

/** The `response` elements of a multistatus, some at a time. */
function* batchesOf(xml: string): Generator<string> {
  const root = /<(?:[^\s<>/:]+:)?multistatus(?:\s[^<>]*)?>/.exec(xml)
  if (root === null) throw new Error('there is no multistatus')
  const ends = /<\/(?:[^\s<>/:]+:)?response\s*>/g
  ends.lastIndex = root.index + root[0].length
  let [from, at] = [ends.lastIndex, ends.lastIndex]
  while (ends.test(xml)) {
    if (ends.lastIndex - at > RESPONSE_MAX_CHARS) throw new Error('one file is described at too great a length')
    at = ends.lastIndex
    if (at - from < BATCH_CHARS) continue
    yield xml.slice(from, at)
    from = at
  }
  const isClosed = root[0].endsWith('/>') || /<\/(?:[^\s<>/:]+:)?multistatus\s*>/.test(xml.slice(at))
  if (!isClosed) throw new Error('it ends early')
  if (at > from) yield xml.slice(from, at)
}

async function readBatch(responses: string, base: string): Promise<Entry[]> {
  const { multistatus } = await parseAsText(`<multistatus>${responses}</multistatus>`)
  return multistatus.response.flatMap((response) => {
    const { href, propstat } = response as { href?: unknown; propstat?: { prop?: unknown } }
    return typeof href === 'string' && typeof propstat?.prop === 'object'
      ? entryOf(href, propstat.prop ?? {}, base)
      : []
  })
}

function entryOf(href: string, prop: object, base: string): Entry[] {
  if (!URL.canParse(href, base)) return []
  const url = new URL(href, base)
  const name = nameOf(url.pathname)
  if (url.origin !== new URL(base).origin || name === undefined) return []
  const { resourcetype, getcontentlength, getetag, getlastmodified } = prop as Record<string, unknown>
  const isFolder = typeof resourcetype === 'object' && resourcetype !== null && 'collection' in resourcetype
  if (isFolder && !url.pathname.endsWith('/')) url.pathname += '/'
  const modified = Date.parse(String(getlastmodified))
  return [
    {
      url: url.href,
      name,
      isFolder,
      size: /^\d{1,15}$/.test(String(getcontentlength)) ? Number(getcontentlength) : undefined,
      etag: readEtag(getetag),
      modified: Number.isNaN(modified) ? undefined : modified,
    },
  ]
}

/** The last segment, decoded; `undefined` when that is no UTF-8, or would be several segments. */
function nameOf(pathname: string): string | undefined {
  const segment = /([^/]*)\/?$/.exec(pathname)?.[1] ?? ''
  try {
    const name = decodeURIComponent(segment)
    return /[/\0]/.test(name) ? undefined : name
  } catch {
    return undefined
  }
}
