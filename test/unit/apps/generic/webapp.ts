import { z } from 'zod'
import type { App, AppTools } from '../../../../src/apps/app.ts'
import { generic } from '../../../../src/apps/generic/generic.ts'
import { type GenericOptions, genericOptions } from '../../../../src/apps/generic/options.ts'
import {
  createFields,
  type ServerConfig,
  serverSchema,
  type Webapp,
  webappFields,
} from '../../../../src/config/schema.ts'
import { Secret } from '../../../../src/core/secret.ts'

const fields = createFields({ baseDir: '/', readSecret: () => new Secret('') })

/** A server section as the configuration makes it. */
export function serverConfig(written: Record<string, unknown> = {}): ServerConfig {
  return serverSchema(fields).parse({ publicUrl: 'https://gateway.example.org', ...written })
}

/** A webapp of kind generic as the configuration makes it. */
export function webappOf(
  written: Record<string, unknown> = {},
  options: z.input<typeof genericOptions> = {},
): Webapp<GenericOptions> {
  const common = z.strictObject(webappFields(fields)).parse({
    name: 'notes',
    publicUrl: 'https://apps.example.org/notes/',
    upstream: 'http://app:8000/notes/',
    ...written,
  })
  return { ...common, kind: 'generic', options: genericOptions.parse(options) }
}

/** @param tools what the test needs of them */
export function genericApp(
  written: Record<string, unknown> = {},
  options: z.input<typeof genericOptions> = {},
  tools: Partial<AppTools> = {},
): App {
  return generic.create(webappOf(written, options), tools as AppTools)
}
