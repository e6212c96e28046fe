import { badRequest, forbidden, gone, unavailable } from '../../core/errors.ts'
import { isLoopbackHost } from '../../core/loopback.ts'
import { canonicalAuthority, hostnameOf } from '../../core/ocm-address.ts'
import type { Session } from '../../sessions/session.ts'
import type { Grant } from '../../shares/grant.ts'
import { permits } from '../../shares/permissions.ts'
import type { ModeParts } from './bridge.ts'
import { chooseAction, editorLocation } from './discovery.ts'
import { noAction } from './files.ts'
import type { WopiMode } from './mode.ts'

/**
 * The sender is the WOPI host, and its access token is the editor’s. We bring the two together: only where the sender may have
 * documents, and only for the very document that the share’s `webapp.uri` names, when it names one. A share that names none is
 * as wide as its token: which document that opens, the sender’s host says.
 */
export function createPassthrough({ webapp, tools, discovery, documents }: ModeParts): WopiMode {
  const { resources, now, publicUrl } = tools
  const { allowedHosts } = webapp.options
  /** Demos and tests: where the gateway itself is http, loopback hosts may be. */
  const insecure = publicUrl.startsWith('http:')

  function isAllowed(wopiSrc: URL, senderDomain: string): boolean {
    const { protocol, username, password, hash, host } = wopiSrc
    const authority = canonicalAuthority(host)
    if (authority === undefined || username + password + hash !== '') return false
    const isSecure =
      protocol === 'https:' || (protocol === 'http:' && insecure && isLoopbackHost(hostnameOf(authority)))
    return isSecure && [senderDomain, ...allowedHosts].includes(authority)
  }

  /** @throws {GatewayError} 400 `wopi_src_missing`; 403 `wopi_src_host`, `wopi_src_other` */
  function wopiSrcOf({ grant, query = '' }: Session): string {
    const given = sourcesIn(query)
    const [value = ''] = given
    if (given.length !== 1 || !URL.canParse(value) || value.includes('?'))
      throw badRequest('wopi_src_missing', 'The address of the share does not say which document it opens (WOPISrc).')
    const url = new URL(value)
    check(url, grant)
    return url.href
  }

  /** @throws {GatewayError} 403 */
  function check(wopiSrc: URL, { senderDomain, share }: Grant): void {
    if (!isAllowed(wopiSrc, senderDomain))
      throw forbidden('wopi_src_host', 'The document is not at the cloud that this share comes from.', {
        detail: { host: wopiSrc.host, senderDomain },
      })
    const named = sourcesIn(queryOf(share.webapp.uri))
    if (named.some((source) => !URL.canParse(source) || new URL(source).href !== wopiSrc.href))
      throw forbidden('wopi_src_other', 'The share is for another document.')
  }

  return {
    async landing(session) {
      const { share, permissions } = session.grant
      const wopiSrc = wopiSrcOf(session)
      const editor = await discovery.get()
      const action = chooseAction(editor, share.name, { canWrite: permits(permissions, 'write') })
      if (action === undefined) throw noAction(share.name, editor)
      await documents.open(session, { wopiSrc, name: share.name })
      return editorLocation(action, wopiSrc)
    },

    async formFor(session, { wopiSrc, url }) {
      if (url !== undefined) throw unavailable('mode_changed', 'The share has to be opened again.')
      check(new URL(wopiSrc), session.grant)
      const held = await resources.token(session.grant)
      if (held === undefined || held.expiresAt <= now())
        throw gone('sender_token_ended', 'The access to this share has run out. Open it again from your cloud.')
      return { token: held.token.reveal(), until: held.expiresAt, embedder: session.frameAncestors[0] }
    },
  }
}

/** Every `WOPISrc` of a query, decoded. */
function sourcesIn(query: string): string[] {
  const parameters = [...new URLSearchParams(query)]
  return parameters.filter(([name]) => name.toLowerCase() === 'wopisrc').map(([, value]) => value)
}

/** `''` or starts with `?`. */
function queryOf(uri: string | undefined): string {
  return uri === undefined || !URL.canParse(uri, 'http://launch.invalid')
    ? ''
    : new URL(uri, 'http://launch.invalid').search
}
