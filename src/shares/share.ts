import { z } from 'zod'
import type { Permission } from '../config/schema.ts'
import { parseOcmAddress } from '../core/ocm-address.ts'

/** How the Receiving Server may present the app (OCM `protocol.webapp.targets`). */
type Target = 'iframe' | 'blank'

/** A share as the Sending Server described it, secrets removed; OCM’s own names. */
export interface Share {
  readonly sender: string
  readonly owner: string
  readonly shareWith: string
  readonly providerId: string
  readonly shareType: string | undefined
  readonly resourceType: string
  readonly name: string
  readonly ownerDisplayName: string | undefined
  /** Epoch seconds. */
  readonly expiration: number | undefined
  readonly webapp: WebappEntry
  readonly webdav: { readonly uri: string } | undefined
}

interface WebappEntry {
  readonly uri: string | undefined
  readonly permissions: readonly Permission[]
  /** `undefined` when the sender did not say: both are then allowed. */
  readonly targets: readonly Target[] | undefined
  readonly requirements: readonly string[]
  readonly appName: string | undefined
  readonly mediaTypes: readonly string[]
}

const NAME_MAX = 1000

/** OCM ids are opaque; a JSON integer is tolerated, a fraction or boolean is not. */
const id = z.union([z.string().min(1).max(1024), z.int().transform(String)])
const text = z.string().max(4096)
const address = text.refine((value) => parseOcmAddress(value) !== undefined, {
  error: 'is not an OCM address (id@host)',
})
const optionalText = text.nullish().transform((value) => value ?? undefined)
const words = z
  .array(z.unknown())
  .nullish()
  .catch(undefined)
  .transform((list) => (list ?? []).filter((item): item is string => typeof item === 'string').slice(0, 100))
const epochSeconds = z
  .number()
  .nonnegative()
  .nullish()
  .transform((value) => value ?? undefined)

const webappEntry = z.object({
  uri: optionalText,
  permissions: z.array(z.unknown()).nullish(),
  viewMode: z.unknown().optional(),
  targets: z.array(z.unknown()).nullish(),
  requirements: words,
  appName: optionalText,
  name: optionalText,
  mediaType: z.unknown().optional(),
  mimeType: z.unknown().optional(),
  mediaTypes: words,
  clientId: id.nullish(),
})

const protocol = z
  .object({
    name: z.string().optional(),
    webapp: webappEntry.nullish(),
    options: z.unknown().optional(),
    webdav: z.object({ uri: text }).nullish().catch(undefined),
  })
  .transform((value, context) => {
    const older = value.name === 'webapp' && value.webapp == null ? webappEntry.safeParse(value.options) : undefined
    const webapp = value.webapp ?? older?.data
    if (webapp === undefined) {
      context.addIssue({ code: 'custom', path: ['webapp'], message: 'is missing (this gateway serves webapp shares)' })
      return z.NEVER
    }
    return { webapp, webdav: value.webdav ?? undefined }
  })

const claim = z.object({
  providerId: id,
  resourceType: text.min(1),
  protocol,
  shareType: optionalText,
  name: z.string().catch('').default(''),
  expiration: epochSeconds,
})

const notification = claim.extend({
  sender: address,
  owner: address,
  shareWith: address,
  shareType: text.min(1),
  ownerDisplayName: optionalText,
})

/** The share’s id: the `clientId` of the webapp entry where the sender put one (older revision), else the `providerId`. */
export interface Identified {
  readonly shareId: string
  readonly share: Share
}

/**
 * Reads the body of a provisioning request (OCM share-creation notification). Unknown fields are ignored.
 *
 * @returns what is wrong, one text a field, when it is not acceptable
 *
 * Does NOT check who sent it, nor that `owner` is at the sender’s host.
 */
export function readProvisioning(body: unknown): Identified | string[] {
  const parsed = notification.safeParse(body)
  if (!parsed.success) return parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`)
  return normalise(parsed.data)
}

/** The share’s id in a revocation: the older `clientId` (also within `protocol.webapp`) where there is one, else `providerId`. */
export function readShareId({ clientId, providerId, protocol }: Readonly<Record<string, unknown>>): string | undefined {
  const entry = z.object({ webapp: z.object({ clientId: id }) }).safeParse(protocol)
  const candidates = [clientId, entry.data?.webapp.clientId, providerId].map((value) => id.safeParse(value).data)
  return candidates.find((value) => value !== undefined)
}

/** Reads the `ocm_ip` claim of a self-contained token; owner and recipient come from the token itself. */
export function readClaim(
  value: unknown,
  { owner, recipient }: { owner: string; recipient: string },
): Identified | string[] {
  const parsed = claim.safeParse(value)
  if (!parsed.success)
    return parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'ocm_ip'}: ${message}`)
  return normalise({ ...parsed.data, sender: owner, owner, shareWith: recipient, ownerDisplayName: undefined })
}

function normalise(
  data:
    | z.infer<typeof notification>
    | (z.infer<typeof claim> & Pick<Share, 'sender' | 'owner' | 'shareWith' | 'ownerDisplayName'>),
): Identified {
  const { protocol: entries, ...rest } = data
  const { webapp, webdav } = entries
  const mediaTypes = [...webapp.mediaTypes, webapp.mediaType, webapp.mimeType].filter(
    (type): type is string => typeof type === 'string',
  )
  return {
    shareId: webapp.clientId ?? rest.providerId,
    share: {
      ...rest,
      name: rest.name.slice(0, NAME_MAX),
      webdav: webdav && { uri: webdav.uri },
      webapp: {
        uri: webapp.uri,
        permissions: permissionsOf(webapp),
        targets: targetsOf(webapp.targets),
        requirements: webapp.requirements,
        appName: webapp.appName ?? webapp.name,
        mediaTypes: [...new Set(mediaTypes)],
      },
    },
  }
}

/** `permissions`, else the older `viewMode`, else the least. Unknown words grant nothing. */
function permissionsOf({ permissions, viewMode }: z.infer<typeof webappEntry>): Permission[] {
  const listed = permissions ?? (viewMode === undefined ? ['view'] : [viewMode])
  return (['view', 'read', 'write', 'share'] as const).filter((permission) => listed.includes(permission))
}

/** `redirect` (what deployed apps send) means that the page navigates: a top-level view, as `blank`. */
function targetsOf(targets: readonly unknown[] | null | undefined): Target[] | undefined {
  if (targets == null) return undefined
  const framed: Target[] = targets.includes('iframe') ? ['iframe'] : []
  return targets.includes('blank') || targets.includes('redirect') ? [...framed, 'blank'] : framed
}

/**
 * Parses JSON of a peer, every `sharedSecret` (and `__proto__`) dropped on the way, so that none is ever stored or logged.
 *
 * @throws {SyntaxError | RangeError} not JSON, or nested beyond all reason
 */
export function parseWithoutSecrets(json: string): unknown {
  return JSON.parse(json, (key, value: unknown) => (key === 'sharedSecret' || key === '__proto__' ? undefined : value))
}
