import { expect, it } from 'vitest'
import { matches } from '../../../src/apps/matching.ts'
import { provisioning, shareOf } from '../fixtures.ts'
import { webappOf } from './generic/webapp.ts'

const share = (name: string, webapp: Record<string, unknown> = {}) =>
  shareOf({ ...provisioning(), name, protocol: { webapp: { permissions: ['view'], ...webapp } } })

it.each([
  ['no rules', undefined, share('a.txt'), true],
  ['empty rules', {}, share('a.txt'), false],
  ['the app’s name, in any case', { appNames: ['Jupyter'] }, share('a', { appName: 'JUPYTER' }), true],
  ['another name', { appNames: ['Jupyter'] }, share('a', { appName: 'Jupyter2' }), false],
  ['a media type', { mediaTypes: ['a/b'] }, share('a', { mediaTypes: ['c/d', 'a/b'] }), true],
  ['an older media type', { mediaTypes: ['a/b'] }, share('a', { mimeType: 'a/b' }), true],
  ['an extension, in any case', { extensions: ['.ipynb'] }, share('A.IPYNB'), true],
  ['the extension in the middle', { extensions: ['.ipynb'] }, share('a.ipynb.txt'), false],
  ['one rule of several', { appNames: ['x'], extensions: ['.md'] }, share('a.md'), true],
])('a share matches: %s', (_what, match, announced, expected) => {
  expect(matches(webappOf({ match }), announced)).toBe(expected)
})
