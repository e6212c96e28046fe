import type { Permission } from '../../config/schema.ts'
import { forbidden } from '../../core/errors.ts'

/** One segment of plain letters: what no server reads differently. */
const NAME = '[A-Za-z0-9_~-][A-Za-z0-9._~@+-]*'

/** Files that are the same for everybody: of Collabora, and of OnlyOffice (also below its version). */
const STATIC = [
  new RegExp(`^browser(?:/${NAME}){2,}$`),
  new RegExp(`^(?:\\d+\\.\\d+\\.\\d+[.-]\\w+/)?(?:web-apps|sdkjs|sdkjs-plugins|fonts|dictionaries)(?:/${NAME})+$`),
]

/** Pages that take a token, by the flavours that we know; others are found by discovery. */
const PAGE = /^(?:browser|loleaflet)\/(?:[^/]+\/)+(?:cool|loleaflet)\.html$|^hosting\/wopi\/[^/]+\/[^/]+$/

/** For administrators, for other servers, or on behalf of somebody else: nobody’s business in a browser. */
const BLOCKED = [
  /^hosting\/(?:discovery|capabilities|wopiaccesscheck)(?:\/|$)/,
  /^(?:cool|lool)\/(?:convert-to|get-thumbnail|extract-[^/]*|transform-[^/]*|render-search-result|adminws|getmetrics)(?:\/|$)/,
  /^browser\/(?:[^/]+\/)?admin(?:\/|$)/,
  /^lool(?:\/|$)/,
  /^coauthoring\/commandservice\.ashx/,
  /^(?:command|converter|docbuilder|info|internal|ai-proxy|example)(?:\/|$)/,
  /^convertservice\.ashx/,
  /^wopi\/files(?:\/|$)/,
]

/** Takes content away, or brings some in. */
const NEEDED: readonly (readonly [RegExp, Permission])[] = [
  [/^cool\/.+\/download\//, 'read'],
  [/^cool\/clipboard$/, 'read'],
  [/^(?:downloadas|downloadfile|savefile|printfile)(?:\/|$)/, 'read'],
  [/^cool\/.+\/insertfile(?:\/|$)/, 'write'],
  [/^upload(?:\/|$)/, 'write'],
]

/** Whether it may be fetched without a session. @param path raw, relative to the base path */
export function isStaticPath(path: string): boolean {
  return STATIC.some((pattern) => pattern.test(path)) && !PAGE.test(folded(path)) && !isBlocked(path)
}

/** @param path raw, relative to the base path */
export function isEditorPage(path: string): boolean {
  return PAGE.test(path)
}

/**
 * The permission that a request through the editor’s paths needs. Rights to the file itself are checked where its bytes are:
 * by our WOPI host, or the sender’s.
 *
 * @param path decoded, relative to the base path
 * @throws {GatewayError} 403 `editor_endpoint`, `editor_page_posted`
 */
export function neededPermission({ method, path }: { method: string; path: string }): Permission {
  if (isBlocked(path)) throw forbidden('editor_endpoint', 'This part of the editor is not served here.')
  const page = isEditorPage(folded(path))
  if (page && method !== 'GET')
    throw forbidden('editor_page_posted', 'The editor’s page is opened by a launch, never by a form.')
  return NEEDED.find(([pattern]) => pattern.test(folded(path)))?.[1] ?? 'view'
}

function isBlocked(path: string): boolean {
  return BLOCKED.some((pattern) => pattern.test(folded(path)))
}

/** What the editor may take a path for: slashes merged, path parameters and its version dropped, letters in one case. */
function folded(path: string): string {
  return path
    .replaceAll('\\', '/')
    .replace(/;[^/]*/g, '')
    .replace(/\/+/g, '/')
    .replace(/^\//, '')
    .toLowerCase()
    .replace(/^\d+\.\d+\.\d+[.-]\w+\//, '')
}
