import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installJupyterHub } from '../../src/demo/jupyterhub/install.ts'
import { installDebianJupyterHub } from '../../src/demo/jupyterhub/install-debian.ts'
import { until } from '../flow/until.ts'
import {
  bytesOf,
  type ContentScene,
  contents,
  DECOMPOSED,
  notebook,
  SLOWLY,
  save,
  startContentScene,
  strange,
  three,
  UNICODE,
} from './content-scene.ts'

const report = (line: string) => void process.stdout.write(`${line}\n`)

/** The same programs of people on the newest hub and on the oldest. */
const HUBS = [
  { hub: 'JupyterHub 5 with JupyterLab 4', name: 'content-pypi', install: installJupyterHub },
  { hub: 'Debian’s JupyterHub with Notebook', name: 'content-debian', install: installDebianJupyterHub },
]

describe.each(HUBS)('$hub', ({ name, install }) => {
  let scene: ContentScene

  beforeAll(async () => {
    scene = await startContentScene({ name: `jupyterhub-${name}`, installation: await install({ report }), report })
  })
  afterAll(() => scene?.close())

  describe('the content of a share', () => {
    it('is in the server as it is in the cloud, byte for byte', async () => {
      const bob = await scene.open(await scene.share({ resource: 'Three' }))
      for (const [path, content] of Object.entries(three)) {
        expect((await bytesOf(bob, path)).equals(Buffer.from(content)), path).toBe(true)
      }
      expect(await scene.told(bob)).toMatchObject({ state: 'saved', pending: 0, leftOut: { total: 0 } })
    })

    it('comes also when it is strange; what cannot come is named', async () => {
      const bob = await scene.open(await scene.share({ resource: 'Strange' }))
      for (const path of [DECOMPOSED, 'empty.ipynb', 'empty.bin', 'large.bin', 'large.ipynb'] as const) {
        expect((await bytesOf(bob, path)).equals(Buffer.from(strange[path] ?? '')), path).toBe(true)
      }
      const { leftOut } = await scene.told(bob)
      expect(leftOut.listed.map(({ path }) => path)).toEqual(['.git/', '.hidden', 'runs/checkpoints/'])
    })
  })

  describe('what is saved', () => {
    it('is in the cloud it comes from, new files and folders too', async () => {
      const bob = await scene.open(await scene.share({ resource: 'Saved' }))
      expect((await save(bob, UNICODE, 'a,b\n')).status).toBe(200)
      expect((await save(bob, 'read me.txt', 'Once.\n')).status).toBe(200)
      expect((await save(bob, 'read me.txt', 'Twice.\n')).status).toBe(200)
      expect((await bob.json(contents('new folder ü'), 'PUT', { type: 'directory' })).status).toBe(201)
      expect((await save(bob, 'new folder ü/deep #2.txt', 'deep')).status).toBe(201)
      expect((await bob.json(contents('données'), 'POST', { type: 'notebook' })).status).toBe(201)
      expect((await bob.request(contents('Analysis.ipynb'), { method: 'DELETE' })).status).toBe(204)
      expect((await bob.json(`${contents('read me.txt')}/checkpoints`, 'POST', {})).status).toBe(201)
      expect((await scene.untilSaved(bob)).state).toBe('saved')
      expect(scene.there('Saved', UNICODE)).toBe('a,b\n')
      expect(scene.there('Saved', 'read me.txt')).toBe('Twice.\n')
      expect(scene.there('Saved', 'new folder ü/deep #2.txt')).toBe('deep')
      expect(scene.there('Saved', 'données/Untitled.ipynb')).toContain('nbformat')
      expect([...scene.treeOf('Saved').keys()].toSorted()).toEqual(
        [
          '',
          'données/',
          'données/Untitled.ipynb',
          UNICODE,
          'new folder ü/',
          'new folder ü/deep #2.txt',
          'read me.txt',
        ].toSorted(),
      )
    })

    it('is an upload in pieces only when its last piece has come', async () => {
      const bob = await scene.open(await scene.share({ resource: 'Pieces' }))
      const bytes = randomBytes(2.5 * 1024 * 1024)
      const size = 1024 * 1024
      const pieces = [1, 2, -1].map((chunk, nth) => ({
        chunk,
        content: bytes.subarray(nth * size, (nth + 1) * size).toString('base64'),
      }))
      const upload = async (piece: (typeof pieces)[number] | undefined) =>
        (await bob.json(contents('new.bin'), 'PUT', { type: 'file', format: 'base64', ...piece })).status
      expect([await upload(pieces[0]), await upload(pieces[1])]).toEqual([201, 200])
      await save(bob, 'read me.txt', 'Meanwhile.')
      await until('others are saved', () => scene.there('Pieces', 'read me.txt') === 'Meanwhile.', SLOWLY)
      expect(scene.treeOf('Pieces').has('new.bin')).toBe(false)
      expect(await upload(pieces[2])).toBe(200)
      await scene.untilSaved(bob)
      expect(scene.treeOf('Pieces').get('new.bin')).toMatchObject({ body: bytes })
    })

    it('moves with its folder', async () => {
      const bob = await scene.open(await scene.share({ resource: 'Renamed' }))
      await save(bob, 'read me.txt', 'Changed, then moved.')
      expect((await bob.json(contents('read me.txt'), 'PATCH', { path: 'données/renamed.txt' })).status).toBe(200)
      expect((await bob.json(contents('données'), 'PATCH', { path: 'data' })).status).toBe(200)
      await save(bob, 'data/renamed.txt', 'Changed again.')
      await scene.untilSaved(bob)
      expect([...scene.treeOf('Renamed').keys()].toSorted()).toEqual(
        ['', 'Analysis.ipynb', 'data/', 'data/größe 50% #1?.csv', 'data/renamed.txt'].toSorted(),
      )
      expect(scene.there('Renamed', 'data/renamed.txt')).toBe('Changed again.')
    })

    it('never overwrites what the other side changed: the copy is on both, and the next launch brings theirs', async () => {
      const share = await scene.share({ resource: 'Conflict' })
      const bob = await scene.open(share)
      scene.change('Conflict', 'read me.txt', 'Alice’s.')
      await save(bob, 'read me.txt', 'Bob’s.')
      const { state, conflicts } = await scene.untilSaved(bob)
      expect(state).toBe('conflict')
      const copy = conflicts[0]?.copy ?? ''
      expect(copy).toMatch(/^read me \(conflict \d{4}-\d\d-\d\d \d\d-\d\d\)\.txt$/)
      expect(scene.there('Conflict', 'read me.txt')).toBe('Alice’s.')
      expect(scene.there('Conflict', copy)).toBe('Bob’s.')
      expect(String(await bytesOf(bob, copy))).toBe('Bob’s.')
      expect(String(await bytesOf(bob, 'read me.txt'))).toBe('Bob’s.')

      await save(bob, 'read me.txt', 'Bob’s, going on.')
      await scene.untilSaved(bob)
      expect(scene.there('Conflict', 'read me.txt')).toBe('Alice’s.')
      expect(scene.there('Conflict', copy)).toBe('Bob’s, going on.')

      const later = await until('a launch brings theirs', async () => {
        const again = await scene.open(share)
        return String(await bytesOf(again, 'read me.txt')) === 'Alice’s.' && again
      })
      expect(String(await bytesOf(later, copy))).toBe('Bob’s, going on.')
      await save(later, 'read me.txt', 'Both agree.')
      await scene.untilSaved(later)
      expect(scene.there('Conflict', 'read me.txt')).toBe('Both agree.')
    })

    it('waits when the token has ended, and goes with the next launch', async () => {
      const share = await scene.share({ resource: 'Ended' })
      const bob = await scene.open(share)
      share.bearers.clear()
      await save(bob, 'read me.txt', 'Late.')
      await until('it waits', async () => (await scene.told(bob)).state === 'waiting', SLOWLY)
      expect((await scene.told(bob)).waiting).toContain('open the share again')
      expect(scene.there('Ended', 'read me.txt')).toBe('Hello.\n')
      const again = await scene.open(share)
      expect((await scene.untilSaved(again)).state).toBe('saved')
      expect(scene.there('Ended', 'read me.txt')).toBe('Late.')
    })

    it('stays in the server where the share may be read only', async () => {
      const bob = await scene.open(await scene.share({ resource: 'Read', permissions: ['view', 'read'] }))
      expect((await save(bob, 'read me.txt', 'Mine.')).status).toBe(200)
      expect((await scene.told(bob)).state).toBe('private')
      expect(scene.there('Read', 'read me.txt')).toBe('Hello.\n')
    })

    it('is the one shared file, under whichever name it has in the server', async () => {
      const bob = await scene.open(await scene.share({ resource: 'Alone.ipynb' }))
      expect(bob.landing).toBe(`${bob.scope}lab/tree/Alone.ipynb`)
      expect((await bob.json(contents('Alone.ipynb'), 'PATCH', { path: 'Mine.ipynb' })).status).toBe(200)
      const changed = notebook.replace('"cells": []', '"cells": [ ]')
      await save(bob, 'Mine.ipynb', changed)
      await save(bob, 'Beside.txt', 'stays here')
      await scene.untilSaved(bob)
      expect([...scene.treeOf('Alone.ipynb').keys()]).toEqual([''])
      expect(scene.there('Alone.ipynb', '')).toBe(changed)
    })
  })
})
