import { invalidToken } from '../../core/errors.ts'
import type { Pairing } from '../pairings.ts'
import type { CredentialVerifier, VerifiedCredential } from './credential.ts'

export type Credentials = ReturnType<typeof createCredentials>

/** Asks each kind of credential in turn; the first that recognises the text as its own decides. */
export function createCredentials(verifiers: readonly CredentialVerifier[]) {
  return {
    /**
     * @param client who brought it, as limits count clients
     * @throws {GatewayError} 401 when nobody recognises it, or what its verifier throws
     */
    async verify(text: string, candidates: readonly Pairing[], client: string): Promise<VerifiedCredential> {
      for (const verify of verifiers) {
        const credential = await verify(text, candidates, client)
        if (credential !== undefined) return credential
      }
      throw invalidToken(
        'credential_opaque',
        'The credential is not a JWT: the sending server issues opaque tokens, and no introspection endpoint is configured for them here.',
      )
    },
  }
}
