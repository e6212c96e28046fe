import { randomBytes } from 'node:crypto'
import type { Clock } from '../core/time.ts'
import type { Applied, PutShare, RevokeShare, ShareKey, ShareStore, Store } from '../store/store.ts'
import type { Pairing } from '../trust/pairings.ts'
import type { Grant } from './grant.ts'
import { permits } from './permissions.ts'
import type { Identified, Share } from './share.ts'

/** A Share Record: what the back channel stored under (sender domain, share id). */
export interface ShareRecord extends ShareKey {
  /** Random, the record’s own: a share made anew under an old id has another. */
  readonly instance: string
  readonly share: Share
}

export type Records = ReturnType<typeof createRecords>

/** Longer than any token lives, so that no token of a revoked share outlasts its tombstone. */
const TOMBSTONE_SECONDS = 2 * 86_400

export function createRecords({ store, now }: { store: Store; now: Clock }) {
  return {
    /** The record, `'revoked'` while its tombstone stands, or `undefined` when there is neither. */
    async find(key: ShareKey): Promise<ShareRecord | 'revoked' | undefined> {
      const row = await store.shares.get(key)
      if (row === undefined) return undefined
      if (row.state === 'revoked') return 'revoked'
      return {
        senderDomain: row.senderDomain,
        shareId: row.shareId,
        instance: row.instance,
        share: JSON.parse(row.data) as Share,
      }
    },

    /** Stores or replaces. Durable once resolved. */
    async provision({ shareId, share }: Identified, applied: Applied, pairing: Pairing): Promise<PutShare> {
      const row = {
        state: 'live' as const,
        senderDomain: pairing.domain,
        shareId,
        instance: randomBytes(16).toString('hex'),
        created: applied.created,
        expiresAt: share.expiration,
        data: JSON.stringify(share),
      }
      return store.shares.put(row, applied, { limit: pairing.limits.shares })
    },

    /** Removes the record and leaves a tombstone. Durable once resolved. */
    revoke(key: ShareKey, applied: Applied, pairing: Pick<Pairing, 'limits'>): Promise<RevokeShare> {
      return store.shares.revoke(key, applied, {
        now: now(),
        keepUntil: now() + TOMBSTONE_SECONDS,
        limit: pairing.limits.shares,
      })
    },

    count: (senderDomain: string): Promise<number> => store.shares.count(senderDomain),
  }
}

/**
 * What a grant is worth now by its record, for work that goes on after its session: less, when the record was narrowed.
 *
 * @returns `undefined` when the share was revoked, or made anew
 */
export async function stillGranted(shares: ShareStore, grant: Grant): Promise<Grant | undefined> {
  const row = await shares.get(grant)
  if (row?.state === 'revoked') return undefined
  if (grant.mode !== 'provisioned') return grant
  if (row?.instance !== grant.instance) return undefined
  const { webapp } = JSON.parse(row.data) as Share
  return { ...grant, permissions: grant.permissions.filter((each) => permits(webapp.permissions, each)) }
}
