import type { Express } from 'express'
import { unauthorized } from '../core/errors.ts'
import type { Resource } from './resources.ts'
import type { SentShare } from './sent-share.ts'
import { makeFile, type Tree, webdav } from './webdav.ts'

/**
 * Alice’s files, served over WebDAV below `/dav/` to the tokens of her shares. Everybody whom a resource is shared with
 * reaches it at one URL; the token decides what may be done there.
 */
export function serveDrive(app: Express, resources: readonly Resource[], shares: ReadonlyMap<string, SentShare>) {
  const trees = new Map(resources.map((resource) => [resource, treeOf(resource)]))
  const rootOf = (resource: Resource) => `/dav/${resources.indexOf(resource) + 1}/${resource.name}`

  app.all(
    '/dav/*path',
    webdav(({ headers }) => {
      const token = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1] ?? ''
      const share = [...shares.values()].find(({ bearers }) => bearers.has(token))
      const tree = share && trees.get(share.resource)
      if (share === undefined || tree === undefined)
        throw unauthorized('invalid_token', 'The token opens nothing here (any more).')
      return { tree, canWrite: share.permissions.includes('write'), root: rootOf(share.resource) }
    }),
  )

  return {
    pathOf: (resource: Resource) => rootOf(resource).split('/').map(encodeURIComponent).join('/'),
    /** What is there now, as text by path. */
    textsOf: (resource: Resource) => textsOf(trees.get(resource)),
  }
}

function treeOf({ resourceType, files }: Resource): Tree {
  const tree: Tree = new Map(resourceType === 'folder' ? [['', 'folder']] : [])
  for (const [path, text] of Object.entries(files)) tree.set(path, makeFile(text))
  return tree
}

function textsOf(tree: Tree = new Map()): Record<string, string> {
  const files = [...tree].flatMap(([path, entry]) => (entry === 'folder' ? [] : [[path, entry.body.toString('utf8')]]))
  return Object.fromEntries(files)
}
