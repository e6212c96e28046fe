import { describe, expect, it } from 'vitest'
import {
  ancestorsOf,
  canMirror,
  conflictPath,
  isBelow,
  nameProblem,
} from '../../../../../src/apps/jupyterhub/content/paths.ts'

const AT = Date.UTC(2026, 10, 22, 14, 3, 59) / 1000

describe('names', () => {
  it.each(['plot.ipynb', 'größe 50% #1?.csv', 'cafe\u0301', ' leading', 'a\\b', 'checkpoints.txt', 'x'.repeat(255)])(
    'that Jupyter can hold: %s',
    (name) => expect(nameProblem(name)).toBeUndefined(),
  )

  it.each(['', '.', '..', 'a/b', 'a\0', 'a\nb', '\ud800', '.hidden', 'checkpoints', 'trust', 'ü'.repeat(128)])(
    'that it cannot hold: %j',
    (name) => expect(nameProblem(name)).toBeTypeOf('string'),
  )
})

describe('paths', () => {
  it('can be mirrored when all their names can, but for the home itself', () => {
    expect(['a/b', 'a/.b/c', '', 'a//b', 'a/../b'].map(canMirror)).toEqual([true, false, false, false, false])
  })

  it('are below a folder, not below a name that begins alike', () => {
    expect(['a/b', 'a', 'ab/c'].map((path) => isBelow(path, 'a'))).toEqual([true, false, false])
    expect(isBelow('a', '')).toBe(true)
  })

  it('have their folders in order, outermost first', () => {
    expect(ancestorsOf('a/b/c.txt')).toEqual(['a', 'a/b'])
    expect(ancestorsOf('c.txt')).toEqual([])
  })
})

describe('the name of a copy in a conflict', () => {
  it.each([
    ['plot.ipynb', 'plot (conflict 2026-11-22 14-03).ipynb'],
    ['deep/er/plot.ipynb', 'deep/er/plot (conflict 2026-11-22 14-03).ipynb'],
    ['v1.2/README', 'v1.2/README (conflict 2026-11-22 14-03)'],
    ['archive.tar.gz', 'archive.tar (conflict 2026-11-22 14-03).gz'],
    ['a sentence. And another one', 'a sentence. And another one (conflict 2026-11-22 14-03)'],
  ])('of %s is %s', (path, copy) => expect(conflictPath(path, AT)).toBe(copy))

  it('has a number when that is taken', () => {
    expect(conflictPath('a.txt', AT, 2)).toBe('a (conflict 2026-11-22 14-03 2).txt')
  })

  it('is no longer than a name may be', () => {
    const copy = conflictPath(`${'ü'.repeat(125)}.txt`, AT)
    expect(Buffer.byteLength(copy)).toBeLessThanOrEqual(255)
    expect(copy).toMatch(/^ü+ \(conflict .*\)\.txt$/)
  })
})
