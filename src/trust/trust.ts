import type { PairingConfig } from '../config/schema.ts'
import type { Events } from '../core/events.ts'
import type { Outbound } from '../core/outbound.ts'
import type { Clock } from '../core/time.ts'
import { createIntrospectionVerifier } from './credentials/introspection.ts'
import { createJwtVerifier } from './credentials/jwt.ts'
import { createCredentials } from './credentials/registry.ts'
import { createSharedKeyVerifier } from './credentials/shared-key.ts'
import { createDiscover } from './discovery.ts'
import { createKeys } from './keys.ts'
import { createPairings, type Pairing } from './pairings.ts'
import type { SigningKey } from './signing-key.ts'

export interface TrustParts {
  readonly ocmServers: readonly PairingConfig[]
  readonly insecureLoopback: boolean
  readonly outbound: Outbound
  readonly signingKey: SigningKey
  readonly now: Clock
  readonly events: Events
  /** As `IntrospectionParts.takeRate`. */
  readonly takeIntrospection: (pairing: Pairing, client: string) => () => void
}

/** The room as a whole. A new kind of credential is a file in `credentials/` and a line here; the first that recognises one decides. */
export function createTrust(parts: TrustParts) {
  const { ocmServers, insecureLoopback, outbound, signingKey, now, events, takeIntrospection } = parts
  const pairings = createPairings(ocmServers, { insecureLoopback })
  const discover = createDiscover({ outbound, insecureLoopback })
  const keys = createKeys({ outbound, discover, now, events })
  const credentials = createCredentials([
    createIntrospectionVerifier({ pairings, keys, outbound, signingKey, now, events, takeRate: takeIntrospection }),
    createSharedKeyVerifier({ pairings, now }),
    createJwtVerifier({ pairings, keys, now, events }),
  ])
  return { pairings, keys, credentials, discover }
}
