import { hash } from 'node:crypto'
import { remembered } from '../../core/remembered.ts'
import type { Grant } from '../../shares/grant.ts'

/** How the hub users that are ours begin; nobody else may use such names on that hub. */
export const HUB_USER_PREFIX = 'ocm-'

const HUB_USER = new RegExp(`^${HUB_USER_PREFIX}[0-9a-f]{20}$`)

/**
 * The hub user of one share, recipient and Share Record: code in one server can reach the other servers of its user, so
 * every share has a user of its own. A share made anew has another one: homes survive the deletion of their user.
 * Made once for each grant, which a session keeps while nothing changes.
 */
export const hubUserOf = remembered(({ senderDomain, shareId, user, instance }: Grant): string => {
  const name = hash('sha256', JSON.stringify([senderDomain, shareId, user, instance]))
  return HUB_USER_PREFIX + name.slice(0, 20)
})

export function isHubUserOfOurs(name: string): boolean {
  return HUB_USER.test(name)
}
