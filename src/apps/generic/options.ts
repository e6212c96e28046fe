import { z } from 'zod'

const METHOD = z.enum([
  'GET',
  'HEAD',
  'OPTIONS',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'PROPFIND',
  'MKCOL',
  'COPY',
  'MOVE',
  'LOCK',
  'UNLOCK',
  'REPORT',
  'SEARCH',
])

export const genericOptions = z.strictObject({
  landing: z
    .string()
    .regex(/^[^?#\\]*$/, { error: 'must be a path below the base, without query' })
    .default('')
    .describe('Where a launch ends, relative to the share’s path'),
  stripPath: z.boolean().default(false).describe('Remove the path of publicUrl before forwarding'),
  isolation: z
    .enum(['none', 'path'])
    .default('none')
    .describe(
      'none: every share lives at the base path; path: each at ~<16 hex>/ below it, for apps with relative links',
    ),
  readOnly: z.strictObject({ webSockets: z.boolean().default(false) }).prefault({}),
  access: z
    .array(
      z.strictObject({
        methods: z.array(METHOD).min(1),
        path: z.string().min(1).describe('Glob relative to the share’s path: * within a segment, ** across segments'),
        permission: z.enum(['view', 'read', 'write']),
      }),
    )
    .default([])
    .describe('Permissions by rule, the first match wins'),
})

export type GenericOptions = z.infer<typeof genericOptions>
