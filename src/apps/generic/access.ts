import { matchesGlob } from 'node:path/posix'
import type { Permission } from '../../config/schema.ts'
import type { AppRequest } from '../app.ts'
import type { GenericOptions } from './options.ts'

type Rules = Pick<GenericOptions, 'access'>

const READING = new Set(['GET', 'HEAD', 'OPTIONS'])
const WEAKEST_FIRST: readonly Permission[] = ['view', 'read', 'write']

/**
 * The permission that a request needs: the first rule of `access` that matches, else reading needs `view`, the rest `write`.
 * A path that the app may take for another one needs what the stricter of the two does. A WebSocket is a GET, where the app’s
 * sockets only read.
 */
export function neededPermission(
  { method, path, upgrade }: AppRequest,
  { access, readOnly }: GenericOptions,
): Permission {
  if (upgrade && !readOnly.webSockets) return 'write'
  if (access.length === 0) return usualPermission(method)
  const literal = permissionByRule(method, path, { access })
  const folded = permissionByRule(method, foldedPath(path), { access: access.map(foldedRule) })
  return WEAKEST_FIRST.indexOf(literal) > WEAKEST_FIRST.indexOf(folded) ? literal : folded
}

function permissionByRule(method: string, path: string, { access }: Rules): Permission {
  const rule = access.find(({ methods, path: glob }) => methods.some((name) => name === method) && covers(glob, path))
  return rule?.permission ?? usualPermission(method)
}

function usualPermission(method: string): Permission {
  return READING.has(method) ? 'view' : 'write'
}

/** `*` and `**` stand for names that begin with a dot, too: to the matcher a dot becomes a letter like any other. */
function covers(glob: string, path: string): boolean {
  return matchesGlob(path.replaceAll('.', '\u0001'), glob.replaceAll('.', '\u0001'))
}

/** What an app may take a path for: backslashes turned, slashes merged, path parameters dropped, letters in one case. */
function foldedPath(path: string): string {
  return path
    .replaceAll('\\', '/')
    .replace(/;[^/]*/g, '')
    .replace(/\/+/g, '/')
    .replace(/^\//, '')
    .toLowerCase()
}

function foldedRule(rule: Rules['access'][number]): Rules['access'][number] {
  return { ...rule, path: rule.path.toLowerCase() }
}
