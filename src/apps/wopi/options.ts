import { z } from 'zod'
import type { Fields } from '../../config/schema.ts'
import { canonicalAuthority } from '../../core/ocm-address.ts'

export function wopiOptions(fields: Fields) {
  const someTime = fields.duration.refine((seconds) => seconds > 0, { error: 'must be longer than 0s' })
  return z.strictObject({
    mode: z
      .enum(['bridge', 'passthrough'])
      .default('bridge')
      .describe('bridge: we are the WOPI host, over the sender’s WebDAV; passthrough: the sender has a WOPI host'),
    discoveryUrl: fields.httpUrl
      .optional()
      .describe('The editor’s WOPI discovery; default: <upstream>hosting/discovery'),
    hostUrl: fields.httpUrl
      .refine((url) => /^\/(?:[A-Za-z0-9._~-]+\/)*$/.test(new URL(url).pathname) && !url.includes('?'), {
        error: 'must end with / and have no query',
      })
      .optional()
      .describe('Where the editor reaches our WOPI endpoints; default: the webapp’s publicUrl'),
    proof: z
      .enum(['require', 'if-present', 'off'])
      .default('if-present')
      .describe('X-WOPI-Proof of the editor’s calls: it shows that they come from this editor'),
    allowedHosts: z
      .array(
        z
          .string()
          .refine((host) => canonicalAuthority(host) !== undefined, { error: 'must be a host or host:port' })
          .transform((host) => canonicalAuthority(host) ?? host),
      )
      .default([])
      .describe('passthrough: WOPISrc hosts that are allowed besides the issuer’s own'),
    maxFileSize: fields.size.prefault('512MiB').describe('Larger files are not opened and not saved'),
    keepUnsaved: z
      .strictObject({
        size: fields.size.prefault('64MiB').describe('Most that is kept for one person and share; 0B: nothing'),
        time: someTime.prefault('7d').describe('How long it is kept'),
      })
      .prefault({})
      .describe('bridge: what could not be saved is kept for the person to download'),
  })
}

export type WopiOptions = z.infer<ReturnType<typeof wopiOptions>>
