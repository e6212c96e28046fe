import { describe, expect, it } from 'vitest'
import { decideBringing, strongEtag } from '../../../../../src/apps/jupyterhub/content/decisions.ts'

const URL = 'https://alice.example/dav/a.txt'
const remote = { url: URL, name: 'a.txt', isFolder: false, size: 5, etag: '"1"', modified: 1000 }
const local = { path: 'a.txt', isFolder: false, size: 5, modified: 'then', created: 0 }
const mirrored = {
  path: 'a.txt',
  url: URL,
  isFolder: false,
  etag: '"1"',
  remoteSize: 5,
  remoteModified: 1000,
  modified: 'then',
  size: 5,
}
const edited = { ...local, modified: 'later' }
const newer = { ...remote, etag: '"2"' }

describe('a file of the share', () => {
  it.each([
    ['is fetched when it is not here', { remote, local: undefined, mirrored: undefined }, 'fetch'],
    ['is fetched again when it was deleted here', { remote, local: undefined, mirrored }, 'fetch'],
    ['is fetched again when it had come in part', { remote, local, mirrored: { ...mirrored, partial: true } }, 'fetch'],
    ['is left alone when nothing changed', { remote, local, mirrored }, 'same'],
    ['is refreshed when only the sender changed it', { remote: newer, local, mirrored }, 'refresh'],
    ['stays as it is when only the recipient changed it', { remote, local: edited, mirrored }, 'changed-here'],
    ['stays as it is when both changed it', { remote: newer, local: edited, mirrored }, 'changed-on-both'],
    [
      'stays as it is when its size alone tells the change',
      { remote: newer, local: { ...local, size: 6 }, mirrored },
      'changed-on-both',
    ],
    ['does not take the place of another one', { remote, local, mirrored: undefined }, 'occupied'],
    ['does not take the place of a folder', { remote, local: { ...local, isFolder: true }, mirrored }, 'occupied'],
    ['takes its name back after a conflict', { remote, local, mirrored: { ...mirrored, diverted: true } }, 'refresh'],
    [
      'leaves its name to what changed since a conflict',
      { remote, local: edited, mirrored: { ...mirrored, diverted: true } },
      'changed-here',
    ],
  ] as const)('%s', (_rule, sides, decision) => expect(decideBringing(sides)).toBe(decision))

  it('is known by size and time where there are no ETags', () => {
    const plain = { ...remote, etag: undefined }
    const noted = { ...mirrored, etag: undefined }
    expect(decideBringing({ remote: plain, local, mirrored: noted })).toBe('same')
    expect(decideBringing({ remote: { ...plain, modified: 2000 }, local, mirrored: noted })).toBe('refresh')
  })
})

it('a weak ETag is of no use to If-Match', () => {
  expect([strongEtag('"a"'), strongEtag('W/"a"'), strongEtag(undefined)]).toEqual(['"a"', undefined, undefined])
})
