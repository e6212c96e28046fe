import { createHash } from 'node:crypto'
import { Secret } from '../core/secret.ts'
import type { Grant } from '../shares/grant.ts'
import type { NoteStore } from '../store/store.ts'
import type { Sealer } from '../trust/sealer.ts'

/** Whose token it is: one person’s, for one record of one share. */
export type Grantee = Pick<Grant, 'senderDomain' | 'shareId' | 'instance' | 'user'>

interface KeptToken {
  readonly sealed: string
  /** Epoch seconds. */
  readonly expiresAt: number
}

const SPACE = 'access token'

/**
 * The access tokens of launches, kept sealed until they end: what the shared resource is reached with. Of several tokens of
 * one person for one share the newest counts, because some Sending Servers end the older ones with every exchange.
 */
export function createAccessTokens({ notes, sealer }: { notes: NoteStore; sealer: Sealer }) {
  async function find(grantee: Grantee): Promise<{ data: string; kept: KeptToken } | undefined> {
    const note = await notes.get(SPACE, idOf(grantee))
    return note && { data: note.data, kept: JSON.parse(note.data) as KeptToken }
  }

  return {
    /** @param token what a launch of this grant brought */
    async keep(grant: Grant, token: Secret): Promise<void> {
      const { tokenExpiresAt: expiresAt } = grant
      const id = idOf(grant)
      const data = JSON.stringify({ sealed: sealer.seal(token.reveal(), contextOf(id)), expiresAt })
      for (;;) {
        const held = await find(grant)
        if (held !== undefined && held.kept.expiresAt > expiresAt) return
        if (await notes.replace({ space: SPACE, id, data, expiresAt }, held?.data)) return
      }
    },

    /** @returns `undefined` when there is none (any more), or when it was sealed under another key of ours */
    async get(grantee: Grantee): Promise<{ token: Secret; expiresAt: number } | undefined> {
      const { kept } = (await find(grantee)) ?? {}
      const token = kept && sealer.open(kept.sealed, contextOf(idOf(grantee)))
      return kept && token !== undefined ? { token: new Secret(token), expiresAt: kept.expiresAt } : undefined
    },

    forget: (grantee: Grantee): Promise<void> => notes.delete(SPACE, idOf(grantee)),
  }
}

function idOf({ senderDomain, shareId, instance, user }: Grantee): string {
  return createHash('sha256')
    .update(JSON.stringify([senderDomain, shareId, instance, user]))
    .digest('base64url')
}

function contextOf(id: string): string {
  return `${SPACE} ${id}`
}
