// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these variables are the configuration's
import { describe, expect, it } from 'vitest'
import { configJsonSchema } from '../../../src/config/json-schema.ts'
import { valueAt } from '../../../src/config/messages.ts'
import { kinds } from './support.ts'

const schema = configJsonSchema(kinds)
const at = (path: string) =>
  valueAt(
    schema,
    path.split('/').map((key) => (/^\d+$/.test(key) ? Number(key) : key)),
  )

describe('the JSON Schema of the configuration', () => {
  it('is titled draft-07, which editors read', () => {
    expect(schema).toMatchObject({
      $schema: 'http://json-schema.org/draft-07/schema#',
      title: 'Configuration of ocm-webapp-gateway',
      type: 'object',
      required: ['server', 'ocmServers', 'webapps'],
      additionalProperties: false,
    })
  })

  it('tells webapps apart by their kind, each with its own options', () => {
    expect(at('properties/webapps/items/oneOf/0/properties')).toMatchObject({
      kind: { const: 'generic' },
      generic: { properties: { stripPath: { type: 'boolean', default: false } } },
    })
    expect(at('properties/webapps/items/oneOf/1/properties')).toMatchObject({
      kind: { const: 'hub' },
      hub: { properties: { stopWhenIdle: { type: 'string', default: '1h' } } },
    })
    expect(at('properties/webapps/items/oneOf/0/properties/hub')).toBeUndefined()
  })

  it('describes what is written, not what comes out, and asks for nothing that has a default', () => {
    expect(at('properties/server')).toMatchObject({ required: ['publicUrl'], additionalProperties: false })
    expect(at('properties/server/properties/listen')).toMatchObject({ type: 'string', default: '0.0.0.0:8080' })
  })

  it('has a description for every setting', () => {
    expect(undescribed(schema, '')).toEqual([])
  })

  it.each(['8h', '${MAX_AGE}', '${MAX_AGE:-8h}'])('accepts %s as a duration', (text) => {
    expect(text).toMatch(new RegExp(String(at('properties/sessions/properties/maxAge/pattern'))))
  })

  it('does not accept any other text as a duration', () => {
    expect('8 hours').not.toMatch(new RegExp(String(at('properties/sessions/properties/maxAge/pattern'))))
  })

  it('accepts a variable where one of several words is expected', () => {
    expect(at('properties/sessions/properties/boundTo/anyOf')).toEqual([
      { enum: ['share', 'token'] },
      { pattern: String.raw`\$\{` },
    ])
  })
})

function undescribed(node: unknown, path: string): string[] {
  if (typeof node !== 'object' || node === null) return []
  return Object.entries(node).flatMap(([key, child]) => {
    const here = `${path}/${key}`
    // The options of a kind are the kind's to describe.
    const isSetting = path.endsWith('/properties') && !/\/(generic|hub)\/properties$/.test(path)
    return [...(isSetting && !Object.hasOwn(child, 'description') ? [here] : []), ...undescribed(child, here)]
  })
}
