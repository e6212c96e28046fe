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
    /** What is there now, by path; folders end in `/`. For a look, and for changes that Alice makes herself. */
    treeOf(resource: Resource): Tree {
      const tree = trees.get(resource)
      if (tree === undefined) throw new Error(`${resource.name} is not in this drive`)
      return tree
    },
  }
}

function treeOf({ resourceType, files }: Resource): Tree {
  const tree: Tree = new Map(resourceType === 'folder' ? [['', 'folder']] : [])
  for (const [path, content] of Object.entries(files)) {
    const folders = path.split('/').slice(0, -1)
    for (const [depth] of folders.entries()) tree.set(`${folders.slice(0, depth + 1).join('/')}/`, 'folder')
    tree.set(path, makeFile(content))
  }
  return tree
}

function textsOf(tree: Tree = new Map()): Record<string, string> {
  const files = [...tree].flatMap(([path, entry]) => (entry === 'folder' ? [] : [[path, entry.body.toString('utf8')]]))
  return Object.fromEntries(files)
}
