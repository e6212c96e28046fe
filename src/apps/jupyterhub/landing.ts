import { forbidden } from '../../core/errors.ts'
import type { Session } from '../../sessions/session.ts'
import { permits } from '../../shares/permissions.ts'
import type { JupyterhubOptions } from './options.ts'

type Segments = readonly string[]

/**
 * The page of the server where a launch ends.
 *
 * @returns an absolute path
 * @throws {GatewayError} 403 `nothing_to_view` when the person may only view, and the share names no notebook
 */
export function landingPath(session: Session, landing: JupyterhubOptions['landing']): string {
  const resource = sharedResource(session)
  const page = permits(session.grant.permissions, 'read') ? PAGES[landing](resource) : renderedPage(resource)
  return session.scope + page.map(encodeURIComponent).join('/')
}

const PAGES: Record<JupyterhubOptions['landing'], (resource: Segments) => Segments> = {
  lab: (resource) => (resource.length === 0 ? ['lab'] : ['lab', 'tree', ...resource]),
  notebook: (resource) => (isNotebook(resource) ? ['notebooks', ...resource] : treePage(resource)),
  tree: (resource) => treePage(resource),
}

function treePage(resource: Segments): Segments {
  return ['tree', ...(isNotebook(resource) ? resource.slice(0, -1) : resource)]
}

function renderedPage(resource: Segments): Segments {
  if (isNotebook(resource)) return ['nbconvert', 'html', ...resource]
  throw forbidden(
    'nothing_to_view',
    'This share may only be viewed, which is possible for a notebook (.ipynb) only. Ask its owner for the permission to read.',
  )
}

/** What the launch asked for below its address, else the share itself when it is a single file; empty: the whole home. */
function sharedResource({ suffix, grant }: Session): Segments {
  const { name, resourceType } = grant.share
  const singleFile = resourceType === 'file' || isNotebook([name])
  const path = suffix === '' && singleFile ? name : suffix
  return path.split('/').filter((segment) => !['', '.', '..'].includes(segment))
}

function isNotebook(resource: Segments): boolean {
  return resource.at(-1)?.toLowerCase().endsWith('.ipynb') ?? false
}
