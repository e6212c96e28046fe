import type { IncomingMessage } from 'node:http'
import { forbidden } from '../core/errors.ts'

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * A cookie with `SameSite=None` goes along with requests of any page: what changes something, and every WebSocket, must come
 * from the webapp’s own origin.
 *
 * @throws {GatewayError} 403 `cross_site`
 */
export function checkSameOrigin({ method = '', headers }: IncomingMessage, origin: string, upgrade: boolean): void {
  if (!upgrade && SAFE.has(method)) return
  if (
    headers.origin !== undefined ? headers.origin === origin : !upgrade && headers['sec-fetch-site'] === 'same-origin'
  )
    return
  throw forbidden('cross_site', 'The request does not come from a page of this application, so it is refused.')
}

/** A GET that shows a page (Fetch Metadata), or one that asks for HTML where the browser does not say. */
export function isNavigation({ method, headers }: IncomingMessage): boolean {
  const mode = headers['sec-fetch-mode']
  return method === 'GET' && (mode === undefined ? acceptsHtml(headers.accept) : mode === 'navigate')
}

export function acceptsHtml(accept: string | undefined): boolean {
  return accept?.toLowerCase().includes('text/html') ?? false
}
