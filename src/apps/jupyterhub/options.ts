import { z } from 'zod'
import type { Fields } from '../../config/schema.ts'

const PLACEHOLDERS = ['shareId', 'owner', 'user', 'resourceName', 'permissions']

export function jupyterhubOptions(fields: Fields) {
  const someTime = fields.duration.refine((seconds) => seconds > 0, { error: 'must be longer than 0s' })
  return z.strictObject({
    apiUrl: fields.httpUrl.optional().describe('The hub’s REST API; default: <upstream>hub/api'),
    apiTokenFile: fields.secretFile.describe('A service token of the hub with the scopes admin:users, servers, tokens'),
    landing: z
      .enum(['lab', 'notebook', 'tree'])
      .default('lab')
      .describe('Where a launch ends; the shared file is opened when there is one'),
    content: z
      .enum(['webdav', 'none'], { error: 'must be webdav or none' })
      .default('webdav')
      .describe('webdav: the gateway brings the shared files, and what is saved there back; none: the hub itself does'),
    contentLimits: z
      .strictObject({
        bytes: fields.size.prefault('1GiB').describe('All files of a share together'),
        entries: z.int().min(1).max(100_000).default(10_000).describe('Files and folders of a share'),
        time: someTime.prefault('30m').describe('How long bringing them may take'),
      })
      .prefault({})
      .describe('What is beyond is left out, and people are told'),
    keepUnsaved: fields.duration
      .prefault('7d')
      .describe('How long a home is kept whose changes could not be saved back before its share was closed'),
    startTimeout: someTime.prefault('5m').describe('How long a server may take to start'),
    stopWhenIdle: someTime.prefault('1h').describe('A server that nobody used for this time is stopped'),
    serverOptions: z
      .record(z.string(), z.unknown())
      .refine((options) => unknownPlaceholders(options).length === 0, {
        error: ({ input }) =>
          `has the unknown placeholder ${unknownPlaceholders(input).join(', ')} (known: ${PLACEHOLDERS.map((name) => `{${name}}`).join(' ')})`,
      })
      .default({})
      .describe(`user_options for the spawner; ${PLACEHOLDERS.map((name) => `{${name}}`).join(' ')} are filled in`),
  })
}

export type JupyterhubOptions = z.infer<ReturnType<typeof jupyterhubOptions>>

function unknownPlaceholders(options: unknown): string[] {
  const names = JSON.stringify(options).matchAll(/\{(\w+)\}/g)
  return [...names].flatMap(([whole, name = '']) => (PLACEHOLDERS.includes(name) ? [] : [whole]))
}

/** The same JSON with every text in it passed through `fill`; keys stay as they are. */
export function fillTexts(value: unknown, fill: (text: string) => string): unknown {
  if (typeof value === 'string') return fill(value)
  if (Array.isArray(value)) return value.map((item) => fillTexts(item, fill))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fillTexts(item, fill)]))
}
