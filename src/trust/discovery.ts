import { z } from 'zod'
import { isLoopbackHost } from '../core/loopback.ts'
import { hostnameOf } from '../core/ocm-address.ts'
import { type Outbound, OutboundError } from '../core/outbound.ts'

const LIMITS = { timeoutSeconds: 5, maxBytes: 256 * 1024, operatorNamed: true }

const resourceType = z.object({
  name: z.string(),
  protocols: z.object({ webdav: z.string().optional().catch(undefined) }),
})

const discoveryDocument = z.object({
  jwksUri: z.string().optional(),
  resourceTypes: z.array(resourceType.optional().catch(undefined)).catch([]).default([]),
})

/** What a paired server says of itself at `/.well-known/ocm`. */
export interface Discovered {
  readonly origin: string
  readonly jwksUri: string | undefined
  /** The path below which relative `webdav` URIs are, such as `/public.php/webdav`; of `file`, else of any resource type. */
  readonly webdavPath: string | undefined
}

export type Discover = ReturnType<typeof createDiscover>

/**
 * Asks a paired server for its discovery document; one that has none is told by its origin alone. Nothing is cached.
 *
 * @see draft-ietf-ocm-open-cloud-mesh, OCM API Discovery
 */
export function createDiscover({ outbound, insecureLoopback }: { outbound: Outbound; insecureLoopback: boolean }) {
  /** @throws {OutboundError} */
  return async ({ domain }: { domain: string }): Promise<Discovered> => {
    const plain = insecureLoopback && isLoopbackHost(hostnameOf(domain))
    const origin = `${plain ? 'http' : 'https'}://${domain}`
    try {
      return { origin, ...read(await outbound.getJson(`${origin}/.well-known/ocm`, LIMITS), domain) }
    } catch (error) {
      if (error instanceof OutboundError && /answered 404$|did not answer JSON$/.test(error.message))
        return { origin, jwksUri: undefined, webdavPath: undefined }
      throw error
    }
  }
}

function read(json: unknown, domain: string): Omit<Discovered, 'origin'> {
  const { jwksUri, resourceTypes } = discoveryDocument.safeParse(json).data ?? { resourceTypes: [] }
  if (jwksUri !== undefined && !URL.canParse(jwksUri)) throw new OutboundError(`${domain}: jwksUri is not a URL`)
  const paths = resourceTypes.filter((type) => type?.protocols.webdav?.startsWith('/'))
  const { protocols } = paths.find((type) => type?.name === 'file') ?? paths[0] ?? {}
  return { jwksUri, webdavPath: protocols?.webdav }
}
