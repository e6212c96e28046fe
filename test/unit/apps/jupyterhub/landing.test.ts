import { expect, it } from 'vitest'
import { landingPath } from '../../../../src/apps/jupyterhub/landing.ts'
import { createRig, sessionFor } from './rig.ts'

const NOTEBOOK = { name: 'analysis.ipynb', resourceType: 'file' }
const TABLE = { name: 'table.csv', resourceType: 'file' }
const FOLDER = { name: 'project', resourceType: 'folder' }
const VIEWER = { permissions: ['view'] as const }

it.each([
  { landing: 'lab', wish: NOTEBOOK, page: 'lab/tree/analysis.ipynb' },
  { landing: 'lab', wish: TABLE, page: 'lab/tree/table.csv' },
  { landing: 'lab', wish: FOLDER, page: 'lab' },
  { landing: 'lab', wish: { ...FOLDER, suffix: 'a b/ü.ipynb' }, page: 'lab/tree/a%20b/%C3%BC.ipynb' },
  { landing: 'lab', wish: { name: '/Shared//../demo #1.ipynb' }, page: 'lab/tree/Shared/demo%20%231.ipynb' },
  { landing: 'lab', wish: { ...NOTEBOOK, resourceType: 'notebook' }, page: 'lab/tree/analysis.ipynb' },
  { landing: 'notebook', wish: NOTEBOOK, page: 'notebooks/analysis.ipynb' },
  { landing: 'notebook', wish: FOLDER, page: 'tree' },
  { landing: 'notebook', wish: { ...FOLDER, suffix: 'sub/x.IPYNB' }, page: 'notebooks/sub/x.IPYNB' },
  { landing: 'tree', wish: FOLDER, page: 'tree' },
  { landing: 'tree', wish: { ...FOLDER, suffix: 'sub' }, page: 'tree/sub' },
  { landing: 'tree', wish: { ...FOLDER, suffix: 'sub/x.ipynb' }, page: 'tree/sub' },
  { landing: 'lab', wish: { ...NOTEBOOK, ...VIEWER }, page: 'nbconvert/html/analysis.ipynb' },
  { landing: 'tree', wish: { ...FOLDER, ...VIEWER, suffix: 'sub/x.ipynb' }, page: 'nbconvert/html/sub/x.ipynb' },
] as const)('landing $landing, $wish ends at $page', async ({ landing, wish, page }) => {
  const { app } = await createRig()
  const session = sessionFor(app, wish)
  expect(landingPath(session, landing)).toBe(session.scope + page)
})

it.each([FOLDER, TABLE])('who may only view sees nothing of $name, and no server is started for it', async (wish) => {
  const { app, hub } = await createRig()
  const session = sessionFor(app, { ...wish, ...VIEWER })
  await expect(app.ready(session)).rejects.toMatchObject({ status: 403, reason: 'nothing_to_view' })
  await expect(app.prepare(session, () => {})).rejects.toMatchObject({ status: 403, reason: 'nothing_to_view' })
  expect(hub.calls).toEqual([])
})
