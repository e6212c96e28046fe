import type { Mode, Permission } from '../config/schema.ts'
import { forbidden, gone, invalidToken, notFound } from '../core/errors.ts'
import { formatOcmAddress, type OcmAddress, parseOcmAddress, sameAddress } from '../core/ocm-address.ts'
import type { Clock } from '../core/time.ts'
import type { ShareKey } from '../store/store.ts'
import type { VerifiedCredential } from '../trust/credentials/credential.ts'
import type { Pairing } from '../trust/pairings.ts'
import { underCeiling } from './permissions.ts'
import type { Records } from './records.ts'
import { readClaim, type Share } from './share.ts'

/** What a verified credential allows whom: made only here, from a record or a claim, after the identity binding held. */
export interface Grant extends ShareKey {
  readonly mode: Mode
  /** The record’s random instance id; in other modes the same for every grant. */
  readonly instance: string
  /** Canonical OCM address of the recipient, from `aud`. */
  readonly user: string
  /** Canonical OCM address of the owner. */
  readonly owner: string
  readonly permissions: readonly Permission[]
  readonly share: Share
  /** Epoch seconds: the share’s own end, when it has one. */
  readonly expiresAt: number | undefined
  /** Epoch seconds: the credential’s. */
  readonly tokenExpiresAt: number
}

export type Grants = ReturnType<typeof createGrants>

/**
 * Turns a verified credential into a grant: an existing Share Record wins over an `ocm_ip` claim, a tombstone over both.
 * Key and record are always of the same host, because both come from the credential’s pairing.
 */
export function createGrants({ records, now }: { records: Records; now: Clock }) {
  return {
    /**
     * @throws {GatewayError} 403 `owner_mismatch`, `recipient_mismatch`, `permissions_empty`; 404 `share_unknown`;
     * 410 `share_revoked`, `share_expired`; 401 when the pairing permits no mode that fits
     */
    async of(credential: VerifiedCredential): Promise<Grant> {
      const { pairing, clientId, introspected } = credential
      const record =
        clientId === undefined ? undefined : await records.find({ senderDomain: pairing.domain, shareId: clientId })
      if (record === 'revoked') throw shareRevoked()
      const provisioned = pairing.modes.includes('provisioned')
      if (record !== undefined && provisioned) {
        return grant(
          introspected ? 'introspected' : 'provisioned',
          credential,
          bindIdentity(credential, record.share),
          record,
        )
      }
      const claimCounts = introspected || pairing.modes.includes('self-contained')
      if (record === undefined && credential.ocmIp !== undefined && claimCounts) return fromClaim(credential)
      if (provisioned) throw shareUnknown(credential)
      throw invalidToken(
        'mode_not_permitted',
        'The token does not carry its share (ocm_ip), and its server may not provision shares here.',
      )
    },
  }

  /** There is no record to compare with: owner and recipient are the token’s, the scope is what the claim says. */
  async function fromClaim(credential: VerifiedCredential): Promise<Grant> {
    const { pairing, ocmIp, clientId, introspected } = credential
    const owner = ownerOf(credential)
    const recipient = recipientOf(credential)
    const read = readClaim(ocmIp, { owner: formatOcmAddress(owner), recipient: formatOcmAddress(recipient) })
    if (Array.isArray(read)) {
      throw invalidToken('claim_malformed', `The token’s ocm_ip claim is not complete: ${read.join('; ')}.`)
    }
    const key = { senderDomain: pairing.domain, shareId: read.shareId }
    const record = read.shareId === clientId ? undefined : await records.find(key)
    if (record === 'revoked') throw shareRevoked()
    if (record !== undefined) {
      throw forbidden('claim_mismatch', 'The token’s client_id is not the id of the share in its ocm_ip claim.')
    }
    const mode = introspected ? 'introspected' : 'self-contained'
    return grant(mode, credential, recipient, { ...key, instance: mode, share: read.share })
  }

  function grant(
    mode: Mode,
    { pairing, exp }: VerifiedCredential,
    recipient: OcmAddress,
    { senderDomain, shareId, instance, share }: ShareKey & { instance: string; share: Share },
  ): Grant {
    if (share.expiration !== undefined && share.expiration <= now())
      throw gone('share_expired', 'The share has expired.')
    const permissions = underCeiling(share.webapp.permissions, pairing.permissions)
    if (permissions.length === 0)
      throw forbidden('permissions_empty', 'The share grants nothing that this gateway may allow.')
    return {
      mode,
      senderDomain,
      shareId,
      instance,
      user: formatOcmAddress(recipient),
      owner: share.owner,
      permissions,
      share,
      expiresAt: share.expiration,
      tokenExpiresAt: exp,
    }
  }
}

/**
 * What a replaced record leaves of a running grant: today’s permissions, or nothing when it is another recipient’s, another
 * resource, or over.
 *
 * @param now epoch seconds
 */
export function regrant(held: Grant, share: Share, pairing: Pairing, now: number): Grant | undefined {
  const recipient = parseOcmAddress(share.shareWith)
  const same =
    recipient !== undefined &&
    formatOcmAddress(recipient) === held.user &&
    share.owner === held.owner &&
    share.name === held.share.name &&
    share.resourceType === held.share.resourceType &&
    share.webdav?.uri === held.share.webdav?.uri &&
    share.webapp.uri === held.share.webapp.uri
  const permissions = underCeiling(share.webapp.permissions, pairing.permissions)
  if (!same || permissions.length === 0 || (share.expiration !== undefined && share.expiration <= now)) return undefined
  return { ...held, permissions, share, expiresAt: share.expiration }
}

function shareUnknown({ clientId, pairing }: VerifiedCredential) {
  return notFound(
    'share_unknown',
    'No share with the token’s client_id was announced by its server. It may have been removed.',
    { detail: { clientId, senderDomain: pairing.domain } },
  )
}

/** One answer for a record that is gone, on whichever path it is met. */
function shareRevoked() {
  return gone('share_revoked', 'The share was revoked, by its owner or by an operator of this gateway.')
}

/**
 * Identity binding: `<sub>@<host of iss>` is the record’s owner, `aud` its recipient. Hosts canonical, identifiers byte for
 * byte; the owner’s webroot is not compared, because `iss` has none.
 */
function bindIdentity(credential: VerifiedCredential, share: Share): OcmAddress {
  const owner = parseOcmAddress(share.owner)
  const claimed = ownerOf(credential)
  const literal = owner?.authority === credential.pairing.domain && owner.id === credential.sub
  if (!literal && !(owner && owner.authority === claimed.authority && owner.id === claimed.id)) {
    throw forbidden('owner_mismatch', 'The token’s sub is not the owner of this share.', {
      detail: { owner: share.owner, sub: credential.sub },
    })
  }
  const recipient = recipientOf(credential)
  const sharedWith = parseOcmAddress(share.shareWith)
  if (sharedWith === undefined || !sameAddress(recipient, sharedWith)) {
    throw forbidden('recipient_mismatch', 'The token’s aud is not the person this share was sent to.', {
      detail: { shareWith: share.shareWith, aud: credential.aud },
    })
  }
  return recipient
}

/** `sub` is a bare identifier at the issuer, or a full OCM address when its host is the issuer’s. */
function ownerOf({ sub, pairing }: VerifiedCredential): OcmAddress {
  const full = parseOcmAddress(sub)
  return full?.authority === pairing.domain ? full : { id: sub, authority: pairing.domain, webroot: '' }
}

function recipientOf({ aud }: VerifiedCredential): OcmAddress {
  const recipient = parseOcmAddress(aud)
  if (recipient === undefined)
    throw invalidToken('token_claims', 'The token’s claim aud is not an OCM address (id@host).')
  return recipient
}
