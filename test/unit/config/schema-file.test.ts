import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { appKinds } from '../../../src/apps/registry.ts'
import { configJsonSchema } from '../../../src/config/json-schema.ts'

it('config/schema.json is the schema of today’s kinds (`npm run schema` writes it)', () => {
  const generated = `${JSON.stringify(configJsonSchema(appKinds), undefined, 2)}\n`
  expect(readFileSync('config/schema.json', 'utf8')).toBe(generated)
})
