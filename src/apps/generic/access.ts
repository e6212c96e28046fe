import { matchesGlob } from 'node:path/posix'
import type { Permission } from '../../config/schema.ts'
import type { AppRequest } from '../app.ts'
import type { GenericOptions } from './options.ts'

const READING = new Set(['GET', 'HEAD', 'OPTIONS'])

/** The permission that a request needs: the first rule of `access` that matches, else reading needs `view`, the rest `write`. */
export function neededPermission(
  { method, path, upgrade }: AppRequest,
  { access, readOnly }: GenericOptions,
): Permission {
  if (upgrade) return readOnly.webSockets ? 'view' : 'write'
  const rule = access.find(
    ({ methods, path: glob }) => methods.some((name) => name === method) && matchesGlob(path, glob),
  )
  return rule?.permission ?? (READING.has(method) ? 'view' : 'write')
}
