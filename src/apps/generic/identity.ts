import type { Awaitable } from '../../core/awaitable.ts'
import type { Session } from '../../sessions/session.ts'
import type { Grant } from '../../shares/grant.ts'
import type { AppTools } from '../app.ts'
import { headerValue } from '../headers.ts'

const ASSERTION_SECONDS = 300
const RENEW_BEFORE_SECONDS = 60

/**
 * Who the gateway says the user is: `X-OCM-*` headers and `X-OCM-Assertion`, a JWT under our key that the app can check by
 * itself. Signed once for each grant and five minutes: while nothing about a session changes, its grant stays the same object.
 */
export function createIdentity(
  webapp: string,
  { signingKey, publicUrl, now }: Pick<AppTools, 'signingKey' | 'publicUrl' | 'now'>,
) {
  const cache = new WeakMap<Grant, { until: number; headers: Record<string, string> }>()

  async function make(grant: Grant, expiresAt: number): Promise<Record<string, string>> {
    const { user, owner, senderDomain, shareId, permissions, share } = grant
    const assertion = await signingKey.signJwt(
      {
        iss: publicUrl.replace(/\/$/, ''),
        aud: webapp,
        sub: user,
        share: {
          id: shareId,
          providerId: share.providerId,
          senderDomain,
          owner,
          name: share.name,
          resourceType: share.resourceType,
          permissions,
        },
      },
      { issuedAt: now(), expiresAt },
    )
    return {
      'x-ocm-user': headerValue(user),
      'x-ocm-owner': headerValue(owner),
      'x-ocm-sender-domain': senderDomain,
      'x-ocm-share-id': headerValue(shareId),
      'x-ocm-provider-id': headerValue(share.providerId),
      'x-ocm-resource-name': headerValue(share.name),
      'x-ocm-resource-type': headerValue(share.resourceType),
      'x-ocm-permissions': permissions.join(','),
      'x-ocm-assertion': assertion,
    }
  }

  return (session: Session): Awaitable<Record<string, string>> => {
    const { grant } = session
    const cached = cache.get(grant)
    if (cached !== undefined && now() < cached.until) return cached.headers
    const expiresAt = Math.min(now() + ASSERTION_SECONDS, session.expiresAt)
    return make(grant, expiresAt).then((headers) => {
      cache.set(grant, { until: expiresAt - RENEW_BEFORE_SECONDS, headers })
      return headers
    })
  }
}
