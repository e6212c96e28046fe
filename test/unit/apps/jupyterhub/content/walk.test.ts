import { describe, expect, it } from 'vitest'
import { sizeText, walk } from '../../../../../src/apps/jupyterhub/content/walk.ts'
import type { Entry, SharedResource } from '../../../../../src/resources/resource.ts'

const ROOT = 'https://alice.example/dav/share/'
const LIMITS = { bytes: 1000, entries: 100 }

function entry(path: string, size?: number): Entry {
  const isFolder = path.endsWith('/') || path === ''
  const name = decodeURIComponent(path.replace(/\/$/, '').split('/').at(-1) ?? '')
  return { url: ROOT + path, name, isFolder, size, etag: undefined, modified: undefined }
}

/** A resource that is looked at only. */
function resourceOf(entries: readonly Entry[], url = ROOT): SharedResource {
  const parentOf = (child: string) => child.replace(/[^/]*\/?$/, '')
  const reading = {
    url,
    stat: async (wanted: string) => entries.find((it) => it.url.replace(/\/$/, '') === wanted.replace(/\/$/, '')),
    list: async (folder: string) => entries.filter((it) => it.url !== folder && parentOf(it.url) === folder),
  }
  return reading as unknown as SharedResource
}

const plan = (resource: SharedResource, share = { name: 'share', resourceType: 'folder' }, limits = LIMITS) =>
  walk(resource, { share, limits, signal: new AbortController().signal, onFound: () => {} })

const paths = (found: readonly { path: string }[] | undefined) => found?.map(({ path }) => path)

describe('a walk', () => {
  it('finds folders before what is in them, and files at all depths', async () => {
    const found = await plan(
      resourceOf(['', 'a.txt', 'b/', 'b/c/', 'b/c/d.txt', 'b/e.txt'].map((path) => entry(path, 1))),
    )
    expect(paths(found?.folders)).toEqual(['b', 'b/c'])
    expect(paths(found?.files)).toEqual(['a.txt', 'b/e.txt', 'b/c/d.txt'])
    expect(found?.leftOut).toEqual([])
    expect(found?.root).toEqual({ url: ROOT, file: undefined })
  })

  it('leaves out what is beyond the limits, and goes on with what still fits', async () => {
    const found = await plan(
      resourceOf([entry(''), entry('big', 1001), entry('half', 600), entry('more', 500), entry('rest', 400)]),
    )
    expect(paths(found?.files)).toEqual(['half', 'rest'])
    expect(found?.leftOut.map(({ path, why }) => `${path}: ${why}`)).toEqual([
      'big: beyond the limit of 1000 B in all',
      'more: beyond the limit of 1000 B in all',
    ])
    expect(found?.spareBytes).toBe(0)
  })

  it('counts files and folders', async () => {
    const many = Array.from({ length: 12 }, (_, nth) => entry(`f${nth}`, 1))
    const found = await plan(resourceOf([entry(''), ...many]), undefined, { bytes: 1000, entries: 10 })
    expect(found?.files).toHaveLength(10)
    expect(found?.leftOut.at(-1)).toEqual({ path: 'f11', why: 'beyond the limit of 10 files and folders' })
  })

  it('does not look into a folder that is left out', async () => {
    const found = await plan(resourceOf([entry(''), entry('.git/'), entry('.git/config', 1), entry('a', 1)]))
    expect(found?.leftOut).toEqual([{ path: '.git/', why: 'hidden files are not shown in Jupyter' }])
  })

  it('takes a single file under the share’s name', async () => {
    const file = { ...entry('x', 5), url: 'https://alice.example/dav/token' }
    const found = await plan(resourceOf([file], file.url), { name: 'plot.ipynb', resourceType: 'file' })
    expect(paths(found?.files)).toEqual(['plot.ipynb'])
    expect(found?.root).toEqual({ url: file.url, file: 'plot.ipynb' })
  })

  it('finds a single file in the folder that its URL turns out to be', async () => {
    const found = await plan(resourceOf([entry(''), entry('plot.ipynb', 5), entry('other', 5)]), {
      name: 'plot.ipynb',
      resourceType: 'file',
    })
    expect(found?.root).toEqual({ url: `${ROOT}plot.ipynb`, file: 'plot.ipynb' })
    expect(paths(found?.files)).toEqual(['plot.ipynb'])
  })

  it('of nothing has no plan', async () => expect(await plan(resourceOf([]))).toBeUndefined())

  it('ends in folders without end', async () => {
    const endless = {
      url: ROOT,
      stat: async () => entry(''),
      list: async (url: string) => [{ ...entry('d/'), url: `${url}d/`, name: 'd' }],
    } as unknown as SharedResource
    const found = await plan(endless)
    expect(found?.folders.length).toBeLessThan(60)
    expect(found?.leftOut).toHaveLength(1)
  })
})

it('sizes are told as people read them', () => {
  expect([0, 999, 1536, 100 * 1024, 5.25 * 1024 ** 2, 3 * 1024 ** 3].map(sizeText)).toEqual([
    '0 B',
    '999 B',
    '1.5 KB',
    '100 KB',
    '5.3 MB',
    '3 GB',
  ])
})
