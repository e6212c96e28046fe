import express from 'express'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { bringPlan } from '../../../../../src/apps/jupyterhub/content/bring.ts'
import { createContents } from '../../../../../src/apps/jupyterhub/content/contents-client.ts'
import { type Conflict, createMirrorNotes } from '../../../../../src/apps/jupyterhub/content/mirror-notes.ts'
import { type Saving, saveChange } from '../../../../../src/apps/jupyterhub/content/save-back.ts'
import { walk } from '../../../../../src/apps/jupyterhub/content/walk.ts'
import { createOutbound } from '../../../../../src/core/outbound.ts'
import { Secret } from '../../../../../src/core/secret.ts'
import { close, listen } from '../../../../../src/demo/listen.ts'
import { answerError } from '../../../../../src/demo/ocm-server.ts'
import { makeFile, type StoredFile, type Tree, webdav } from '../../../../../src/demo/webdav.ts'
import type { SharedResource } from '../../../../../src/resources/resource.ts'
import { createWebdav } from '../../../../../src/resources/webdav.ts'
import { createMemoryStore } from '../../../../../src/store/memory.ts'
import { startFakeContents, TOKEN } from './fake-contents.ts'

const NAME = 'ocm-00112233445566778899'
const AT = Date.UTC(2026, 10, 22, 14, 3) / 1000
const COPY = 'a (conflict 2026-11-22 14-03).txt'

/** A share of Alice’s, a server with its content, and the gateway’s memory of both. */
async function createRig({ weak = false, deaf = false }: { weak?: boolean; deaf?: boolean } = {}) {
  const tree: Tree = new Map<string, StoredFile | 'folder'>([['', 'folder']])
  const asked: string[] = []
  const app = express()
  app.use(express.raw({ type: () => true, limit: '64mb' }))
  app.use((req, _res, next) => {
    if (deaf) for (const name of ['if-match', 'if-none-match']) delete req.headers[name]
    asked.push(`${req.method} ${decodeURIComponent(req.path).slice('/dav/share/'.length)}`)
    next()
  })
  app.use(webdav(() => ({ tree, canWrite: true, root: '/dav/share' })))
  app.use(answerError)
  const { server, port } = await listen(app, 0)
  const contentsServer = await startFakeContents()
  const outbound = createOutbound({ insecureLoopback: false })
  onTestFinished(async () => {
    await outbound.close()
    await Promise.all([close(server), contentsServer.close()])
  })

  const notes = createMirrorNotes('notebooks', { notes: createMemoryStore({ now: () => AT }).notes, now: () => AT })
  const contents = createContents({ outbound, serverUrl: contentsServer.url, token: TOKEN })
  const url = `http://127.0.0.1:${port}/dav/share`
  const dav = createWebdav({ url, outbound, operatorNamed: true, token: async () => new Secret('access') })
  const resource: SharedResource = weak ? weakened(dav) : dav
  const conflicts: Conflict[] = []

  const set = (path: string, content: string) => void tree.set(path, path.endsWith('/') ? 'folder' : makeFile(content))

  async function bring(over: Partial<SharedResource> = {}) {
    const limits = { bytes: 16 * 1024 ** 2, entries: 100 }
    const { signal } = new AbortController()
    const share = { name: 'share', resourceType: 'folder' }
    const plan = await walk(resource, { share, limits, signal, onFound: () => {} })
    if (plan === undefined) throw new Error('there is no share')
    return bringPlan(plan, {
      name: NAME,
      contents,
      resource: { ...resource, ...over },
      notes,
      isPending: (path) => notes.isQueued(NAME, path),
      undisturbed: (_path, work) => work(),
      report: () => {},
      signal,
    })
  }

  const saving = (): Saving => ({
    name: NAME,
    contents,
    resource,
    notes,
    root: { url, file: undefined },
    now: () => AT,
    onConflict: async (conflict) => void conflicts.push(conflict),
  })

  return {
    server: contentsServer,
    notes,
    conflicts,
    /** What Alice’s cloud was asked, but for looks. */
    changesThere: () => asked.filter((line) => !/^(PROPFIND|GET|HEAD)/.test(line)),
    asked,
    tree,
    set,
    /** Files of Alice’s as text; folders have no text. */
    there: () =>
      Object.fromEntries([...tree].map(([path, file]) => [path, file === 'folder' ? '' : String(file.body)])),
    bring,
    moved: (path: string, to: string) => saveChange({ kind: 'move', path, to, at: AT }, saving()),
    saved: (path: string) => saveChange({ kind: 'path', path, at: AT }, saving()),
  }
}

/** As some servers are: no strong ETags, so that nothing can be conditional. */
function weakened(dav: SharedResource): SharedResource {
  const weak = (etag: string | undefined) => etag && `W/${etag}`
  return {
    ...dav,
    stat: async (url) => {
      const found = await dav.stat(url)
      return found && { ...found, etag: weak(found.etag) }
    },
    list: async (url) => (await dav.list(url)).map((entry) => ({ ...entry, etag: weak(entry.etag) })),
    read: async (url, options) => {
      const reading = await dav.read(url, options)
      return { ...reading, etag: weak(reading.etag) }
    },
    write: async (url, body, { ifMatch, ...options } = {}) => {
      if (ifMatch !== undefined) throw new Error('If-Match with a weak ETag')
      await dav.write(url, body, options)
      return { etag: undefined }
    },
    remove: async (url, options) => {
      if (options?.ifMatch !== undefined) throw new Error('If-Match with a weak ETag')
      await dav.remove(url)
    },
  }
}

let rig: Awaited<ReturnType<typeof createRig>>

beforeEach(async () => {
  rig = await createRig()
  for (const [path, content] of [
    ['a.txt', 'one'],
    ['d/', ''],
    ['d/b.txt', 'two'],
    ['d/e/', ''],
    ['d/e/c.txt', 'three'],
  ] as const) {
    rig.set(path, content)
  }
})

describe('bringing', () => {
  it('makes the home what the share is; the second time nothing is fetched', async () => {
    expect(await rig.bring()).toEqual({ files: 3, bytes: 11, leftOut: [] })
    expect(rig.server.home()).toEqual({
      'a.txt': 'one',
      d: undefined,
      'd/b.txt': 'two',
      'd/e': undefined,
      'd/e/c.txt': 'three',
    })
    expect(await rig.bring()).toEqual({ files: 0, bytes: 0, leftOut: [] })
  })

  it('goes on where a crash ended it: what is there is not fetched again, what came in part is', async () => {
    await rig.bring()
    const noted = await rig.notes.mirrored(NAME, 'a.txt')
    await rig.notes.putMirrored(NAME, {
      ...noted,
      path: 'a.txt',
      url: noted?.url ?? '',
      isFolder: false,
      partial: true,
    })
    rig.server.write('a.txt', 'o')
    rig.server.remove('d/b.txt')
    expect(await rig.bring()).toMatchObject({ files: 2 })
    expect(rig.server.home()).toMatchObject({ 'a.txt': 'one', 'd/b.txt': 'two' })
  })

  it('refreshes what only Alice changed, and leaves what Bob changed, and says so when both did', async () => {
    await rig.bring()
    rig.set('a.txt', 'Alice’s')
    rig.set('d/b.txt', 'Alice’s too')
    rig.server.write('d/b.txt', 'Bob’s')
    rig.server.write('d/e/c.txt', 'Bob’s alone')
    const { leftOut } = await rig.bring()
    expect(rig.server.home()).toMatchObject({ 'a.txt': 'Alice’s', 'd/b.txt': 'Bob’s', 'd/e/c.txt': 'Bob’s alone' })
    expect(leftOut.map(({ path }) => path)).toEqual(['d/b.txt'])
  })

  it('leaves alone what waits to be saved', async () => {
    await rig.bring()
    rig.server.remove('a.txt')
    await rig.notes.queue(NAME, { kind: 'path', path: 'a.txt', at: AT })
    expect(await rig.bring()).toMatchObject({ files: 0 })
    expect(rig.server.home()).not.toHaveProperty('a.txt')
  })

  it('does not put files or folders in the place of something else', async () => {
    rig.server.write('a.txt', 'somebody’s')
    rig.server.write('d', 'a file')
    const { leftOut } = await rig.bring()
    expect(leftOut.map(({ path }) => path).toSorted()).toEqual(['a.txt', 'd/'])
    expect(rig.server.home()).toEqual({ 'a.txt': 'somebody’s', d: 'a file' })
  })

  it('ends a file that is longer than its cloud said, and leaves it out', async () => {
    const lying = async (): Promise<Awaited<ReturnType<SharedResource['read']>>> => ({
      size: undefined,
      etag: undefined,
      modified: undefined,
      body: (async function* endless() {
        for (;;) yield Buffer.from('more and more')
      })(),
    })
    const { leftOut, bytes } = await rig.bring({ read: lying })
    expect(bytes).toBe(0)
    expect(leftOut.map(({ path, why }) => `${path}: ${why}`).toSorted()[0]).toBe(
      'a.txt: it is larger than its cloud says',
    )
    expect(rig.server.home()).toEqual({ d: undefined, 'd/e': undefined })
  })
})

describe('saving', () => {
  beforeEach(async () => {
    await rig.bring()
    rig.asked.length = 0
  })

  it('writes what is in the home, once', async () => {
    rig.server.write('a.txt', 'changed')
    await rig.saved('a.txt')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ 'a.txt': 'changed' })
    expect(rig.changesThere()).toEqual(['PUT a.txt'])
  })

  it.each([
    ['an empty file', ''],
    ['a large one', 'x'.repeat(5 * 1024 * 1024 + 3)],
  ])('writes %s whole, and brings it back whole', async (_what, content) => {
    rig.server.write('new #1 50%?.txt', content)
    await rig.saved('new #1 50%?.txt')
    expect(rig.there()['new #1 50%?.txt'] === content).toBe(true)
    rig.server.remove('new #1 50%?.txt')
    await rig.bring()
    expect(rig.server.home()['new #1 50%?.txt'] === content).toBe(true)
  })

  it('makes the folders of a new file', async () => {
    rig.server.makeFolder('n')
    rig.server.makeFolder('n/m')
    rig.server.write('n/m/x.txt', 'new')
    await rig.saved('n/m/x.txt')
    expect(rig.there()).toMatchObject({ 'n/': '', 'n/m/': '', 'n/m/x.txt': 'new' })
  })

  it('knows its own write again after a crash between the answer and the note', async () => {
    rig.server.write('a.txt', 'changed')
    rig.set('a.txt', 'changed')
    await rig.saved('a.txt')
    expect(rig.changesThere()).toEqual([])
    expect(rig.conflicts).toEqual([])
    rig.server.write('a.txt', 'changed again')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ 'a.txt': 'changed again' })
  })

  it('goes on when only the ETag is another one', async () => {
    const noted = await rig.notes.mirrored(NAME, 'a.txt')
    if (noted !== undefined) await rig.notes.putMirrored(NAME, { ...noted, etag: '"older"' })
    rig.server.write('a.txt', 'changed')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ 'a.txt': 'changed' })
    expect(rig.conflicts).toEqual([])
  })

  it('keeps both versions of what both have changed; further saves go to the copy', async () => {
    rig.set('a.txt', 'Alice’s')
    rig.server.write('a.txt', 'Bob’s')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ 'a.txt': 'Alice’s', [COPY]: 'Bob’s' })
    expect(rig.server.home()).toMatchObject({ 'a.txt': 'Bob’s', [COPY]: 'Bob’s' })
    expect(rig.conflicts).toEqual([{ path: 'a.txt', copy: COPY, at: AT }])
    rig.server.write('a.txt', 'Bob goes on')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ 'a.txt': 'Alice’s', [COPY]: 'Bob goes on' })
    await rig.bring()
    expect(rig.server.home()).toMatchObject({ 'a.txt': 'Alice’s', [COPY]: 'Bob goes on' })
  })

  it('keeps the copy when the file is deleted after a conflict', async () => {
    rig.set('a.txt', 'Alice’s')
    rig.server.write('a.txt', 'Bob’s')
    await rig.saved('a.txt')
    rig.server.remove('a.txt')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ 'a.txt': 'Alice’s', [COPY]: 'Bob’s' })
  })

  it('keeps both versions when the other side has deleted the file, or made one of the same name', async () => {
    rig.tree.delete('a.txt')
    rig.server.write('a.txt', 'Bob’s')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ [COPY]: 'Bob’s' })
    rig.set('new.txt', 'Alice’s')
    rig.server.write('new.txt', 'Bob’s')
    await rig.saved('new.txt')
    expect(rig.there()).toMatchObject({ 'new.txt': 'Alice’s', 'new (conflict 2026-11-22 14-03).txt': 'Bob’s' })
  })

  it('deletes what was deleted, unless the other side has changed it', async () => {
    rig.server.remove('a.txt')
    await rig.saved('a.txt')
    expect(rig.there()).not.toHaveProperty('a.txt')
    rig.set('d/b.txt', 'Alice’s')
    rig.server.remove('d/b.txt')
    await rig.saved('d/b.txt')
    expect(rig.there()).toMatchObject({ 'd/b.txt': 'Alice’s' })
  })

  it('deletes a folder with what it knew in it, and nothing that the other side has added', async () => {
    rig.set('d/e/added.txt', 'Alice’s')
    rig.server.remove('d')
    await rig.saved('d')
    expect(rig.there()).toEqual({ '': '', 'a.txt': 'one', 'd/': '', 'd/e/': '', 'd/e/added.txt': 'Alice’s' })
  })

  it('brings back folders that the other side has deleted, for what was saved in them', async () => {
    for (const path of ['d/', 'd/b.txt', 'd/e/', 'd/e/c.txt']) rig.tree.delete(path)
    rig.server.write('d/e/c.txt', 'Bob’s')
    await rig.saved('d/e/c.txt')
    rig.server.write('d/new.txt', 'new')
    await rig.saved('d/new.txt')
    expect(rig.there()).toEqual({
      '': '',
      'a.txt': 'one',
      'd/': '',
      'd/new.txt': 'new',
      'd/e/': '',
      'd/e/c (conflict 2026-11-22 14-03).txt': 'Bob’s',
    })
  })

  it('knows a file that became a folder, and a folder that became a file', async () => {
    rig.server.remove('a.txt')
    rig.server.makeFolder('a.txt')
    await rig.saved('a.txt')
    rig.server.remove('d')
    rig.server.write('d', 'a file now')
    await rig.saved('d')
    expect(rig.there()).toEqual({ '': '', 'a.txt/': '', d: 'a file now' })
  })

  it('moves a folder as one, and what was saved in it afterwards', async () => {
    rig.server.rename('d', 'moved')
    rig.server.write('moved/e/c.txt', 'changed')
    await rig.moved('d', 'moved')
    expect(rig.there()).toEqual({
      '': '',
      'a.txt': 'one',
      'moved/': '',
      'moved/b.txt': 'two',
      'moved/e/': '',
      'moved/e/c.txt': 'changed',
    })
    expect(rig.changesThere()).toEqual(['MOVE d/', 'PUT moved/e/c.txt'])
  })

  it('comes to the same end whatever was renamed into whatever since', async () => {
    rig.server.rename('a.txt', 'tmp')
    rig.server.rename('d/b.txt', 'a.txt')
    rig.server.rename('tmp', 'd/b.txt')
    const moves = [
      ['a.txt', 'tmp'],
      ['d/b.txt', 'a.txt'],
      ['tmp', 'd/b.txt'],
    ] as const
    for (const [path, to] of moves) await rig.moved(path, to)
    expect(rig.there()).toMatchObject({ 'a.txt': 'two', 'd/b.txt': 'one' })
    expect(rig.there()).not.toHaveProperty('tmp')
    expect(rig.conflicts).toEqual([])
  })

  it('does not move over something of the other side', async () => {
    rig.set('new.txt', 'Alice’s')
    rig.server.rename('a.txt', 'new.txt')
    await rig.moved('a.txt', 'new.txt')
    expect(rig.there()).toMatchObject({ 'new.txt': 'Alice’s', 'new (conflict 2026-11-22 14-03).txt': 'one' })
  })
})

describe('where there are weak ETags only', () => {
  beforeEach(async () => {
    rig = await createRig({ weak: true })
    rig.set('a.txt', 'one')
    await rig.bring()
  })

  it('what has not changed is written and deleted', async () => {
    rig.server.write('a.txt', 'changed')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ 'a.txt': 'changed' })
    rig.server.remove('a.txt')
    await rig.saved('a.txt')
    expect(rig.there()).not.toHaveProperty('a.txt')
  })

  it('what has changed is not', async () => {
    rig.set('a.txt', 'Alice’s')
    rig.server.write('a.txt', 'Bob’s')
    await rig.saved('a.txt')
    expect(rig.there()).toMatchObject({ 'a.txt': 'Alice’s', [COPY]: 'Bob’s' })
  })
})

/** Go’s WebDAV library is such a server, and rclone and others are built on it. */
describe('where If-Match and If-None-Match are not looked at', () => {
  it('what the other side has changed or made is not written over', async () => {
    const { set, bring, saved, there, server } = await createRig({ deaf: true })
    set('a.txt', 'one')
    await bring()
    server.write('a.txt', 'by Bob')
    server.write('new.txt', 'new, by Bob')
    set('a.txt', 'by Alice')
    set('new.txt', 'new, by Alice')
    await saved('a.txt')
    await saved('new.txt')
    expect(there()).toMatchObject({ 'a.txt': 'by Alice', [COPY]: 'by Bob', 'new.txt': 'new, by Alice' })
    expect(Object.values(there())).toContain('new, by Bob')
  })
})
