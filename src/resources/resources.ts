import { notFound } from '../core/errors.ts'
import { type Outbound, OutboundError } from '../core/outbound.ts'
import type { Secret } from '../core/secret.ts'
import type { Clock } from '../core/time.ts'
import type { Grant } from '../shares/grant.ts'
import type { Store } from '../store/store.ts'
import type { Discover, Discovered } from '../trust/discovery.ts'
import type { Sealer } from '../trust/sealer.ts'
import { createAccessTokens, type Grantee } from './access-tokens.ts'
import { ResourceError, type SharedResource } from './resource.ts'
import { createWebdav } from './webdav.ts'

const DISCOVERY_SECONDS = 600

export type Resources = ReturnType<typeof createResources>

/** The resources behind the shares: their `webdav` side, and the access tokens that open it. */
export function createResources({
  store,
  sealer,
  outbound,
  discover,
  now,
}: {
  store: Store
  sealer: Sealer
  outbound: Outbound
  discover: Discover
  now: Clock
}) {
  const tokens = createAccessTokens({ notes: store.notes, sealer })
  const discovered = new Map<string, { answer: Discovered; until: number }>()

  async function discoveredOf(senderDomain: string): Promise<Discovered> {
    const known = discovered.get(senderDomain)
    if (known !== undefined && now() < known.until) return known.answer
    try {
      const answer = await discover({ domain: senderDomain })
      discovered.set(senderDomain, { answer, until: now() + DISCOVERY_SECONDS })
      return answer
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error
      throw new ResourceError('unreachable', error.message, { cause: error })
    }
  }

  /** An absolute URI as it is; a relative one below the sender’s discovered WebDAV path. */
  async function locate({ senderDomain, share: { webdav } }: Grant): Promise<string> {
    if (webdav === undefined) throw noWebdav()
    if (URL.canParse(webdav.uri)) return checked(new URL(webdav.uri))
    const { origin, webdavPath } = await discoveredOf(senderDomain)
    if (webdavPath === undefined) throw new ResourceError('refused', `${senderDomain} does not tell its WebDAV path`)
    const root = `${origin}${webdavPath.replace(/\/$/, '')}/`
    const url = new URL(root + webdav.uri.replace(/^\/+/, ''))
    if (!url.href.startsWith(root)) throw new ResourceError('refused', `the relative URI leads out of ${root}`)
    return checked(url)
  }

  return {
    keepToken: (grant: Grant, token: Secret): Promise<void> => tokens.keep(grant, token),

    /** Epoch seconds; `undefined` when we hold no access token for it (any more). */
    tokenExpiresAt: async (grantee: Grantee): Promise<number | undefined> => (await tokens.get(grantee))?.expiresAt,

    /** The newest token of this person’s launches, for the sender’s own protocols. */
    token: async (grantee: Grantee): Promise<{ token: Secret; expiresAt: number } | undefined> => tokens.get(grantee),

    forget: (grantee: Grantee): Promise<void> => tokens.forget(grantee),

    /**
     * The shared resource as this person reaches it.
     *
     * @throws {GatewayError} 404 `no_webdav` when the share does not say where its files are
     * @throws {ResourceError} when its sender has to be asked, and does not tell
     */
    async of(grant: Grant): Promise<SharedResource> {
      const url = await locate(grant)
      const { protocol, host } = new URL(url)
      return createWebdav({
        url,
        outbound,
        operatorNamed: protocol === 'https:' && host === grant.senderDomain,
        token: async () => (await tokens.get(grant))?.token,
      })
    },
  }
}

function checked(url: URL): string {
  const { protocol, username, password, href } = url
  if (!/^https?:$/.test(protocol) || username + password !== '')
    throw new ResourceError('refused', `the share’s WebDAV URI is no plain https URL`)
  return href.replace(/#.*$/, '')
}

function noWebdav() {
  return notFound('no_webdav', 'The share does not say where its files are (it has no webdav entry).')
}
