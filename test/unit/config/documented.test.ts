import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

/** Every property name anywhere in a JSON Schema. */
function keysOf(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const own = 'properties' in schema ? Object.keys(schema.properties as object) : []
  return [...own, ...Object.values(schema).flatMap(keysOf)]
}

it('docs/configuration.md, or the page of a kind, names every key of the schema', () => {
  const schema: unknown = JSON.parse(readFileSync('config/schema.json', 'utf8'))
  const pages = ['configuration', 'generic', 'jupyterhub', 'wopi']
    .map((page) => readFileSync(`docs/${page}.md`, 'utf8'))
    .join('\n')
  const keys = [...new Set(keysOf(schema))]
  expect(keys.length).toBeGreaterThan(50)
  expect(keys.filter((key) => !new RegExp(`\\b${key}\\b`).test(pages))).toEqual([])
})
