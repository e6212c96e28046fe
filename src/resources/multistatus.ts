import { parseXML } from 'webdav'
import type { Entry } from './resource.ts'

/** Text stays text: an ETag such as `1e5` is no number. Character references are decoded. */
const AS_TEXT = { attributeNamePrefix: '@', attributeParsers: [], tagParsers: [() => undefined], entityDecoder: {} }

/**
 * The files and folders that a `207 Multi-Status` answer describes (RFC 4918 §13, §14.16).
 *
 * @param base URL that was asked; members of another origin are left out
 * @throws {Error} when it is not such an answer
 */
export async function readMultistatus(xml: string, base: string): Promise<Entry[]> {
  if (/<!DOCTYPE/i.test(xml)) throw new Error('a multistatus has no document type')
  const { multistatus } = await parseXML(xml, AS_TEXT as never)
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
      etag: typeof getetag === 'string' && /^(?:W\/)?"[^"]*"$/.test(getetag) ? getetag : undefined,
      modified: Number.isNaN(modified) ? undefined : modified,
    },
  ]
}

/** The last segment, decoded; `undefined` when that is no UTF-8, or would be several segments. */
export function nameOf(pathname: string): string | undefined {
  const segment = /([^/]*)\/?$/.exec(pathname)?.[1] ?? ''
  try {
    const name = decodeURIComponent(segment)
    return /[/\0]/.test(name) ? undefined : name
  } catch {
    return undefined
  }
}
