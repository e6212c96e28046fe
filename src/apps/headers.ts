import type { Webapp } from '../config/schema.ts'
import { parseOcmAddress } from '../core/ocm-address.ts'
import type { Session } from '../sessions/session.ts'

const PLAIN = /^[\x20-\x7e]*$/
const MAX_CHARACTERS = 1024

/** A header value: plain ASCII as it is, anything else percent-encoded UTF-8 (then `%` is encoded too); cut at 1024 characters. */
export function headerValue(text: string): string {
  const cut = [...text].slice(0, MAX_CHARACTERS).join('')
  if (PLAIN.test(cut)) return cut.trim()
  return cut.toWellFormed().replace(/[^\x20-\x7e]|%/gu, (char) => encodeURIComponent(char))
}

/** The headers that `headers:` of a webapp asks for, its placeholders filled in for one session. */
export function templateHeaders({ headers }: Webapp, session: Session): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, template]) => [name, headerValue(fillTemplate(template, session))]),
  )
}

/** A template of the configuration with its placeholders (`{user}`, `{shareId}`, …) filled in; what comes in is not escaped. */
export function fillTemplate(template: string, { grant }: Session): string {
  const user = parseOcmAddress(grant.user)
  const values: Record<string, string> = {
    user: grant.user,
    userId: user?.id ?? '',
    userHost: user?.authority ?? '',
    owner: grant.owner,
    shareId: grant.shareId,
    permissions: grant.permissions.join(','),
    resourceName: grant.share.name,
  }
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole)
}
