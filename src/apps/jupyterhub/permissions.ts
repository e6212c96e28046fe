import type { Permission } from '../../config/schema.ts'
import { forbidden } from '../../core/errors.ts'
import type { AppRequest } from '../app.ts'

interface Rule {
  readonly methods: readonly string[]
  readonly upgrade: boolean
  /** Over the decoded path relative to the server. */
  readonly path: RegExp
  readonly permission: Permission
}

const READING = ['GET', 'HEAD']

/**
 * What each request to a private server needs; the first rule that fits. Kernels, terminals and the APIs run code or hand
 * out whole files, so that everything which is not part of a rendered notebook needs `read`.
 */
const RULES: readonly Rule[] = [
  { methods: READING, upgrade: false, path: /^nbconvert\/html\/./, permission: 'view' },
  { methods: READING, upgrade: false, path: /^static\/./, permission: 'view' },
  { methods: READING, upgrade: false, path: /^files\/.*\.(?:png|jpe?g|gif|svg|webp)$/i, permission: 'view' },
]
const OTHERWISE: Permission = 'read'

/** Ends or changes who the server takes its visitor for; that is ours to do. */
const REFUSED: ReadonlySet<string> = new Set(['logout', 'oauth_callback'])

/** @throws {GatewayError} 403 `path_refused` for what would log the person out of the server, or into it as someone else */
export function neededPermission({ method, upgrade, path }: AppRequest): Permission {
  if (REFUSED.has(path.replace(/^\/+|\/+$/g, ''))) {
    throw forbidden(
      'path_refused',
      'The gateway itself decides who uses this server; its own login pages are not served.',
    )
  }
  const fitting = RULES.find(
    (rule) => rule.upgrade === upgrade && rule.methods.includes(method) && rule.path.test(path),
  )
  return fitting?.permission ?? OTHERWISE
}
