import { randomBytes } from 'node:crypto'
import { badRequest } from '../core/errors.ts'
import { parseOcmAddress } from '../core/ocm-address.ts'
import type { Resource } from './resources.ts'

export type Permission = 'view' | 'read' | 'write' | 'share'
export type Target = 'iframe' | 'blank'

/** A share of Alice’s, as her cloud keeps it. */
export interface SentShare {
  readonly providerId: string
  readonly sharedSecret: string
  readonly resource: Resource
  /** Owner and sender: nothing is shared on. */
  readonly owner: string
  readonly shareWith: string
  readonly permissions: readonly Permission[]
  readonly targets: readonly Target[]
  /** The launch URL. */
  readonly uri: string
  readonly davUri: string
  readonly appName: string
  /** Epoch seconds. */
  readonly expiration: number | undefined
  /** How the Protocol Server learns of it: pushed before, or in the `ocm_ip` claim of its tokens. */
  readonly mode: 'provisioned' | 'self-contained'
  /** The access tokens that open its files: an exchange makes a new one and ends the older ones, as in Nextcloud. */
  readonly bearers: Set<string>
}

/** 192 random bits. */
export function newSecret(): string {
  return randomBytes(24).toString('base64url')
}

/**
 * The share-creation notification without its secrets: what a Protocol Server may know. Its key order is Nextcloud’s.
 *
 * @see draft-ietf-ocm-open-cloud-mesh, Share Creation Notification
 */
export function notificationOf(share: SentShare) {
  const { resource, owner, permissions, targets, uri, appName, davUri, expiration } = share
  const requirements = ['must-exchange-token']
  const files = permissions.filter((permission) => permission !== 'view')
  const webdav = { uri: davUri, permissions: files.length > 0 ? files : ['read'], requirements }
  return {
    shareWith: share.shareWith,
    name: resource.name,
    description: resource.description,
    providerId: share.providerId,
    owner,
    ownerDisplayName: displayName(owner),
    sender: owner,
    senderDisplayName: displayName(owner),
    shareType: 'user',
    resourceType: resource.resourceType,
    ...(expiration !== undefined && { expiration }),
    protocol: {
      name: 'multi',
      webdav,
      webapp: { uri, targets, permissions, requirements, appName, mediaTypes: [resource.mediaType] },
    },
  }
}

/** The notification as the Receiving Server gets it: with the secret to exchange. */
export function notificationWithSecret(share: SentShare) {
  const { protocol, ...rest } = notificationOf(share)
  const { sharedSecret } = share
  const { name, webdav, webapp } = protocol
  return { ...rest, protocol: { name, webdav: { ...webdav, sharedSecret }, webapp: { ...webapp, sharedSecret } } }
}

/** `bob@bob.example` → `Bob`. */
export function displayName(address: string): string {
  const { id } = parseOcmAddress(address) ?? { id: address }
  return id.charAt(0).toUpperCase() + id.slice(1)
}

/** @throws {GatewayError} 400 when it is not an OCM address */
export function authorityOf(address: string): string {
  const authority = parseOcmAddress(address)?.authority
  if (authority === undefined) throw badRequest('address', `${address} is not an OCM address.`)
  return authority
}
