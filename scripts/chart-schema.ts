/**
 * Prints `values.schema.json` of the chart: the chart's own values (values.schema.base.json), and below `config` the
 * program's configuration as the chart takes it: `ocmServers` and `webapps` as maps, secrets by name.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '..')

interface Schema {
  type?: string | string[]
  pattern?: string
  required?: string[]
  const?: string
  items?: Schema
  oneOf?: Schema[]
  properties?: Record<string, Schema>
  [keyword: string]: unknown
}

const readSchema = (file: string): Schema => JSON.parse(readFileSync(join(ROOT, file), 'utf8'))

const SECRET_SOURCE: Schema = {
  description: 'A secret: a key of a Secret that exists, or a text that the chart puts into its own Secret',
  type: 'object',
  properties: { existingSecret: { type: 'string' }, key: { type: 'string' }, value: { type: 'string' } },
  additionalProperties: false,
}

const orSecret = (schema: Schema): Schema => ({
  description: schema.description,
  anyOf: [{ type: ['string', 'null'] }, SECRET_SOURCE],
})

/** The same schema as the chart needs it, all the way down. */
function adapt(schema: Schema): Schema {
  const adapted = Object.fromEntries(
    Object.entries(schema).map(([keyword, value]) => [keyword, adaptKeyword(keyword, value)]),
  ) as Schema
  // Helm matches with RE2, which has no look-ahead; `ocm-gateway check` sees what this would have seen.
  if (adapted.pattern?.includes('(?!')) delete adapted.pattern
  return adapted
}

function adaptKeyword(keyword: string, value: unknown): unknown {
  if (keyword === 'properties') {
    const entries = Object.entries(value as Record<string, Schema>)
    return Object.fromEntries(entries.map(([name, schema]) => [name, adaptProperty(name, schema)]))
  }
  if (Array.isArray(value)) return value.map((item) => (isSchema(item) ? adapt(item) : item))
  return isSchema(value) && keyword !== 'default' ? adapt(value) : value
}

function adaptProperty(name: string, schema: Schema): Schema {
  if (name.endsWith('File') && schema.type === 'string') return orSecret(schema)
  if (name.endsWith('Files') && schema.items) return { ...schema, items: orSecret(schema.items) }
  return adapt(schema)
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `{ [key]: …, … }` in a list → an entry of a map, whose key it is. */
function withoutKey(schema: Schema, key: string): Schema {
  const { [key]: _, ...properties } = schema.properties ?? {}
  return { ...schema, properties, required: schema.required?.filter((name) => name !== key) ?? [] }
}

/** Webapps of several kinds; as conditions, so that a mistake is reported for the one kind that was meant. */
function webappSchema(kinds: readonly Schema[]): Schema {
  const names = kinds.map(({ properties }) => properties?.kind?.const)
  const conditions = kinds.map((kind, index) => ({
    if: { properties: { kind: { const: names[index] } } },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: withoutKey(kind, 'name'),
  }))
  return { type: 'object', required: ['kind'], properties: { kind: { enum: names } }, allOf: conditions }
}

/** In a later values file, `null` takes an entry away. */
function mapOf(entry: Schema, description: unknown): Schema {
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
  const orNull = { if: { type: 'object' }, then: entry, else: { type: 'null' } }
  return { description, type: 'object', additionalProperties: orNull }
}

function configSchema(): Schema {
  const { $schema: _, title: __, ...schema } = adapt(readSchema('config/schema.json'))
  const { ocmServers, webapps, ...properties } = schema.properties ?? {}
  if (!ocmServers?.items || !webapps?.items?.oneOf) throw new Error('config/schema.json has another shape')
  const maps = {
    ocmServers: mapOf(withoutKey(ocmServers.items, 'domain'), ocmServers.description),
    webapps: mapOf(webappSchema(webapps.items.oneOf), webapps.description),
  }
  return { ...schema, properties: { ...properties, ...maps } }
}

const base = readSchema('charts/ocm-webapp-gateway/values.schema.base.json')
const properties = { ...base.properties, config: configSchema() }
process.stdout.write(`${JSON.stringify({ ...base, properties }, undefined, 2)}\n`)
