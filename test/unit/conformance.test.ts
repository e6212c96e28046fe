import { existsSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const page = readFileSync('docs/conformance.md', 'utf8')

it('every test that docs/conformance.md names is in the suite', () => {
  const named = [...page.matchAll(/`(test\/[^`]+)` › "([^"]+)"/g)].map(([, file = '', title = '']) => ({ file, title }))
  expect(named.length).toBeGreaterThan(40)
  const gone = named.filter(({ file, title }) => !existsSync(file) || !readFileSync(file, 'utf8').includes(title))
  expect(gone).toEqual([])
})

it('every place that docs/conformance.md names is in the source', () => {
  const places = [...page.matchAll(/\| `([\w-]+\/[\w/.-]+\.ts)` \|/g)].map(([, place = '']) => `src/${place}`)
  expect(places.length).toBeGreaterThan(40)
  expect(places.filter((place) => !existsSync(place))).toEqual([])
})
