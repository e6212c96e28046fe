// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these variables are the configuration's
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { stringify } from 'yaml'
import { loadConfig } from '../../../src/config/load.ts'
import { folderWith, kinds, minimal } from './support.ts'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

const KEYS = [
  'server',
  'webapps',
  'ocmServers',
  'publicUrl',
  'kind',
  'generic',
  'hub',
  'domain',
  'name',
  'upstream',
  'listen',
]
const TEXTS = [
  'https://a.example/',
  '${X}',
  '${',
  '/',
  'generic',
  'hub',
  '',
  '\n',
  'a.example',
  '[::1]:1',
  '%',
  'http://[',
]

const { value: anyValue } = fc.letrec<{ value: Json; section: { [key: string]: Json } }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(...TEXTS),
    fc.oneof(fc.string(), fc.double(), fc.boolean(), fc.constant(null)),
    fc.array(tie('value'), { maxLength: 4 }),
    tie('section'),
  ),
  section: fc.dictionary(
    fc.oneof(fc.constantFrom(...KEYS, '__proto__', 'constructor', 'toString'), fc.string()),
    tie('value'),
    {
      maxKeys: 6,
    },
  ),
}))

/** A good document in which some values were replaced by anything. */
const damaged = fc
  .array(fc.tuple(fc.nat(), anyValue), { minLength: 1, maxLength: 4 })
  .map((damages) =>
    damages.reduce<unknown>((document, [where, value]) => replaceNth(document, { left: where % 30 }, value), minimal()),
  )

function replaceNth(node: unknown, counter: { left: number }, value: Json): unknown {
  if (counter.left-- === 0) return value
  if (Array.isArray(node)) return node.map((item) => replaceNth(item, counter, value))
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(Object.entries(node).map(([key, item]) => [key, replaceNth(item, counter, value)]))
}

function expectAnAnswer(text: string, file: string) {
  writeFileSync(file, text)
  const loaded = loadConfig(file, { kinds, env: {} })
  if ('config' in loaded) return
  expect(loaded.problems.length).toBeGreaterThan(0)
  for (const { path, message } of loaded.problems)
    expect(`${path}: ${message}`).not.toMatch(/\p{Cc}|undefined|\[object|Invalid/u)
}

it.each([
  { documents: 'any document', arbitrary: anyValue.map((value) => stringify(value)) },
  { documents: 'any damaged configuration', arbitrary: damaged.map((document) => stringify(document)) },
  { documents: 'any text', arbitrary: fc.string({ unit: 'grapheme' }) },
])('$documents gets an answer: a configuration, or problems of one line each', ({ arbitrary }) => {
  const file = join(folderWith({}), 'gateway.yaml')
  fc.assert(
    fc.property(arbitrary, (text) => expectAnAnswer(text, file)),
    { numRuns: 150 },
  )
})
