import { describe, expect, it } from 'vitest'
import { changesOf, intentOf } from '../../../../../src/apps/jupyterhub/content/changes.ts'

const intent = (method: string, path: string, upgrade = false) => intentOf({ method, path, upgrade })

describe('a request', () => {
  it.each([
    ['PUT', 'api/contents/a/b c.txt', { method: 'PUT', path: 'a/b c.txt' }],
    ['PUT', 'api/contents//a//b', { method: 'PUT', path: 'a/b' }],
    ['DELETE', 'api/contents/a', { method: 'DELETE', path: 'a' }],
    ['PATCH', 'api/contents/a', { method: 'PATCH', path: 'a' }],
    ['POST', 'api/contents', { method: 'POST', path: '' }],
    ['POST', 'api/contents/', { method: 'POST', path: '' }],
    ['POST', 'api/contents/a/checkpoints/0f-1', { method: 'PUT', path: 'a' }],
    ['PUT', 'api/contents/checkpoints/model.bin', { method: 'PUT', path: 'checkpoints/model.bin' }],
  ])('%s %s changes something', (method, path, expected) => {
    const isMirrored = !path.includes('model.bin')
    expect(intent(method, path)).toEqual(isMirrored ? expected : undefined)
  })

  it.each([
    ['GET', 'api/contents/a'],
    ['POST', 'api/contents/a/checkpoints'],
    ['DELETE', 'api/contents/a/checkpoints/0f-1'],
    ['POST', 'api/contents/a.ipynb/trust'],
    ['PUT', 'api/contents/.hidden/a'],
    ['PUT', 'api/contentsX/a'],
    ['PUT', 'api/contents'],
    ['POST', 'api/sessions'],
    ['PUT', 'files/a'],
  ])('%s %s changes nothing that goes back', (method, path) => expect(intent(method, path)).toBeUndefined())

  it('is no handshake', () => expect(intent('PUT', 'api/contents/a', true)).toBeUndefined())
})

describe('the changes to remember', () => {
  const put = { method: 'PUT', path: 'a' } as const
  const patch = { method: 'PATCH', path: 'a' } as const

  it('of a save is its path, whatever its body', () => {
    expect(changesOf(put, undefined, 7)).toEqual([{ kind: 'path', path: 'a', at: 7 }])
    expect(changesOf(put, { chunk: -1 }, 7)).toEqual([{ kind: 'path', path: 'a', at: 7 }])
  })

  it('of a piece of an upload waits for the last piece', () => {
    expect(changesOf(put, { chunk: 2 }, 7)).toEqual([{ kind: 'path', path: 'a', at: 7, notBefore: 127 }])
  })

  it('of a rename is a move; of one into hiding, that the file is gone', () => {
    expect(changesOf(patch, { path: '/b/c' }, 7)).toEqual([{ kind: 'move', path: 'a', to: 'b/c', at: 7 }])
    expect(changesOf(patch, { path: '.b' }, 7)).toEqual([{ kind: 'path', path: 'a', at: 7 }])
  })

  it.each([undefined, null, 'text', {}, { path: 5 }, { path: 'a' }])('of a PATCH with %j is nothing', (body) => {
    expect(changesOf(patch, body, 7)).toEqual([])
  })
})
