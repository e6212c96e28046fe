import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { gatewaySchema, type KindSchema } from './schema.ts'

/**
 * The JSON Schema (draft-07, which every YAML editor reads) of the configuration as it is written, so that editors
 * complete and check it. Webapps are told apart by their `kind`.
 *
 * Does NOT know what takes more than one setting, or a file, to see; `ocm-gateway check` does.
 */
export function configJsonSchema(kinds: readonly KindSchema[]): object {
  const { $schema, ...schema } = z.toJSONSchema(gatewaySchema(kinds, NO_FILES), {
    io: 'input',
    target: 'draft-07',
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema instanceof z.ZodString || zodSchema instanceof z.ZodEnum) allowVariables(jsonSchema)
      if (zodSchema instanceof z.ZodPrefault) omitEmptyDefault(jsonSchema)
    },
  })
  return { $schema, title: 'Configuration of ocm-webapp-gateway', ...schema }
}

const NO_FILES = {
  baseDir: '.',
  readSecret: () => {
    throw new Error('describing a configuration reads no files')
  },
}

/** Text that must have a certain form may have a `${VARIABLE}` in it instead. */
function allowVariables(schema: z.core.JSONSchema.BaseSchema): void {
  if (schema.pattern !== undefined) schema.pattern += String.raw`|\$\{`
  if (schema.enum !== undefined) {
    schema.anyOf = [{ enum: schema.enum }, { pattern: String.raw`\$\{` }]
    delete schema.enum
  }
}

/** A section that may be left out has the defaults of its keys, which say more than `{}`. */
function omitEmptyDefault(schema: z.core.JSONSchema.BaseSchema): void {
  if (isDeepStrictEqual(schema.default, {})) delete schema.default
}
