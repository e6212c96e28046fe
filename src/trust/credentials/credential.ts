import type { Secret } from '../../core/secret.ts'
import type { Pairing } from '../pairings.ts'

/** A credential whose issuer, signature and lifetime were checked. Made only by a verifier of this folder. */
export interface VerifiedCredential {
  readonly pairing: Pairing
  /** The bare `sub`: the owner’s identifier at the issuer, or a full OCM address. */
  readonly sub: string
  /** The `aud` as sent: the recipient’s OCM address. */
  readonly aud: string
  /** An introspection answer may lack it. */
  readonly clientId: string | undefined
  /** Epoch seconds. */
  readonly exp: number
  /** The `ocm_ip` claim as sent, not read yet. */
  readonly ocmIp: unknown
  /** Its issuer was asked about it. */
  readonly introspected: boolean
  readonly token: Secret
}

/**
 * One kind of credential.
 *
 * @param candidates the pairings whose credentials may be used here; an opaque one does not say whose it is
 * @param client who brought it, as limits count clients; never an input to the verdict
 * @returns `undefined` when the text is not of this kind at all
 * @throws {GatewayError} when it is of this kind and not acceptable
 */
export type CredentialVerifier = (
  text: string,
  candidates: readonly Pairing[],
  client: string,
) => Promise<VerifiedCredential | undefined>
