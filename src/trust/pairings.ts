import type { PairingConfig } from '../config/schema.ts'
import { invalidToken } from '../core/errors.ts'
import { isLoopbackHost } from '../core/loopback.ts'
import { canonicalAuthority, hostnameOf } from '../core/ocm-address.ts'

/** The operator’s word about one Sending Server: what it may do here. */
export type Pairing = PairingConfig

export type Pairings = ReturnType<typeof createPairings>

export function createPairings(
  configured: readonly PairingConfig[],
  { insecureLoopback }: { insecureLoopback: boolean },
) {
  const byDomain = new Map(configured.map((pairing) => [pairing.domain, pairing]))
  return {
    all: configured,
    /** Those named, or all. */
    of: (domains: readonly string[] | undefined): readonly Pairing[] =>
      domains === undefined ? configured : configured.filter(({ domain }) => domains.includes(domain)),
    /** @param domain canonical authority */
    find: (domain: string): Pairing | undefined => byDomain.get(domain),
    /**
     * The pairing that a token’s `iss` names, without trusting the token or asking anyone.
     *
     * @throws {GatewayError} 401 `issuer_malformed` or `issuer_not_paired`
     */
    ofIssuer(iss: unknown): Pairing {
      const domain = typeof iss === 'string' ? issuerAuthority(iss, insecureLoopback) : undefined
      if (domain === undefined) {
        throw invalidToken('issuer_malformed', 'The token’s iss is not an https URL of a server (no path, no user).')
      }
      const pairing = byDomain.get(domain)
      if (pairing === undefined) {
        throw invalidToken('issuer_not_paired', `This gateway does not serve shares of ${domain}.`, {
          detail: { issuer: domain },
        })
      }
      return pairing
    },
  }
}

/** `https://host[:port]` → canonical authority; http only for loopback hosts in insecureLoopback. */
function issuerAuthority(iss: string, insecureLoopback: boolean): string | undefined {
  const [, scheme, host = ''] = /^(https?):\/\/([^/?#@\\\s]+)\/?$/i.exec(iss) ?? []
  const authority = canonicalAuthority(host)
  if (authority === undefined || scheme === undefined) return undefined
  const localTest = insecureLoopback && isLoopbackHost(hostnameOf(authority))
  return scheme.toLowerCase() === 'https' || localTest ? authority : undefined
}
