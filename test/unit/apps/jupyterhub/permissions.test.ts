import { describe, expect, it } from 'vitest'
import { neededPermission } from '../../../../src/apps/jupyterhub/permissions.ts'

const get = (path: string) => ({ method: 'GET', path, upgrade: false })

describe('who may only view', () => {
  it.each([
    get('nbconvert/html/analysis.ipynb'),
    get('nbconvert/html/a folder/analysis.ipynb'),
    { ...get('nbconvert/html/analysis.ipynb'), method: 'HEAD' },
    get('static/favicons/favicon.ico'),
    get('files/figures/plot.PNG'),
    get('files/logo.svg'),
  ])('sees a rendered notebook and what it shows: $method $path', (request) => {
    expect(neededPermission(request)).toBe('view')
  })

  it.each([
    get(''),
    get('lab'),
    get('lab/tree/analysis.ipynb'),
    get('notebooks/analysis.ipynb'),
    get('tree'),
    get('nbconvert/html/'),
    get('nbconvert/script/analysis.ipynb'),
    get('nbconvert/html'),
    get('files/analysis.ipynb'),
    get('files/data.csv'),
    get('view/analysis.ipynb'),
    get('api/contents/analysis.ipynb'),
    get('api/kernels'),
    get('api/sessions'),
    get('api/terminals'),
    get('staticfiles/x'),
    { ...get('nbconvert/html/analysis.ipynb'), method: 'POST' },
    { ...get('static/x.js'), method: 'OPTIONS' },
    { ...get('api/kernels'), method: 'POST' },
    { ...get('api/contents/analysis.ipynb'), method: 'PUT' },
    { ...get('api/kernels/1/channels'), upgrade: true },
    { ...get('terminals/websocket/1'), upgrade: true },
    { ...get('nbconvert/html/analysis.ipynb'), upgrade: true },
    { ...get('static/x.js'), upgrade: true },
  ])('gets no further: $method $path, upgrade $upgrade', (request) => {
    expect(neededPermission(request)).toBe('read')
  })
})

describe('nobody', () => {
  it.each(['logout', 'logout/', '/logout', 'oauth_callback'])(
    'changes who the server takes its visitor for: %s',
    (path) => {
      for (const upgrade of [false, true]) {
        expect(() => neededPermission({ method: 'GET', path, upgrade })).toThrow(
          expect.objectContaining({ status: 403, reason: 'path_refused' }),
        )
      }
    },
  )
})

it('a file may be called like a refused path', () => {
  expect(neededPermission(get('api/contents/logout'))).toBe('read')
})
