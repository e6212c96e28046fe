import type { RequestListener } from 'node:http'
import { expect, it, onTestFinished } from 'vitest'
import { createContents } from '../../src/apps/jupyterhub/content/contents-client.ts'
import { createMirrorNotes } from '../../src/apps/jupyterhub/content/mirror-notes.ts'
import { saveChange } from '../../src/apps/jupyterhub/content/save-back.ts'
import { walk } from '../../src/apps/jupyterhub/content/walk.ts'
import { createOutbound } from '../../src/core/outbound.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Entry, SharedResource } from '../../src/resources/resource.ts'
import { createWebdav } from '../../src/resources/webdav.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { serving } from '../unit/serving.ts'

/** A home whose server answers as the test says, and a share that is empty; what the share’s server was asked to change. */
async function setUp(notebook: RequestListener) {
  const asked: string[] = []
  const dav = await serving((req, res) => {
    req.resume()
    if (req.method !== 'PROPFIND') asked.push(`${req.method} ${req.url}`)
    res.writeHead(req.method === 'PROPFIND' ? 404 : 201).end()
  })
  const url = `${dav}/dav/share`
  const outbound = createOutbound({ insecureLoopback: true })
  onTestFinished(() => outbound.destroy())
  const contents = createContents({ outbound, serverUrl: `${await serving(notebook)}/`, token: 't' })
  const resource = createWebdav({ url, outbound, operatorNamed: true, token: async () => new Secret('bearer') })
  const notes = createMirrorNotes('notebooks', { notes: createMemoryStore({ now: () => 1 }).notes, now: () => 1 })
  const root = { url, file: undefined }
  return { asked, saving: { name: 'bob', contents, resource, notes, root, now: () => 1, onConflict: async () => {} } }
}

const model = (path: string, type = 'file', more: object = {}) => {
  return JSON.stringify({ path, type, last_modified: 'now', created: '2026-01-01T00:00:00Z', size: 1, ...more })
}

it('a notebook server cannot name a path outside of what was asked: nothing is written beside the share', async () => {
  const { asked, saving } = await setUp((req, res) =>
    res.end(req.url?.startsWith('/api/contents') ? model('../../others/a.txt') : 'x'),
  )
  await saveChange({ kind: 'path', path: 'a.txt', at: 1 }, saving)
  expect(asked).toEqual(['PUT /dav/share/a.txt'])
})

it('a notebook server cannot keep the gateway busy with a folder that is in itself', async () => {
  let calls = 0
  const { saving } = await setUp((req, res) => {
    calls += 1
    if (calls > 500) return void res.writeHead(503).end()
    const content = [JSON.parse(model('d', 'directory'))]
    res.end(model('d', 'directory', { content }))
    req.resume()
  })
  await saveChange({ kind: 'move', path: 'c', to: 'd', at: 1 }, saving)
  expect(calls).toBeLessThan(50)
})

it('a sender that lists endless folders does not fill our memory', async () => {
  let listed = 0
  const entry = (url: string, name: string, isFolder: boolean): Entry => {
    return { url, name, isFolder, size: 1, etag: undefined, modified: undefined }
  }
  const resource: Partial<SharedResource> = {
    url: 'https://a.example/',
    stat: async (url) => entry(url, 'share', true),
    list: async (url) => {
      listed += 1
      return Array.from({ length: 1000 }, (_, index) => entry(`${url}${index}/`, `${index}`, listed === 1 || index > 0))
    },
  }
  const limits = { bytes: 1000, entries: 100 }
  const signal = AbortSignal.timeout(20_000)
  const plan = await walk(resource as SharedResource, {
    share: { name: 'share', resourceType: 'folder' },
    limits,
    signal,
    onFound: () => {},
  })
  expect(plan?.leftOut.length).toBeLessThan(2000)
})
