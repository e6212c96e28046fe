import { matchesGlob } from 'node:path/posix'
import type { Permission } from '../../config/schema.ts'
import type { AppRequest } from '../app.ts'
import type { GenericOptions } from './options.ts'

const READING = new Set(['GET', 'HEAD', 'OPTIONS'])
const WEAKEST_FIRST: readonly Permission[] = ['view', 'read', 'write']

/** The permission by rule of a method and a path. */
type ByRule = (method: string, path: string) => Permission

/**
 * The permission that a request needs: the first rule of `access` that matches, else reading needs `view`, the rest `write`.
 * A path that the app may take for another one needs what the stricter of the two does. A WebSocket is a GET, where the app’s
 * sockets only read.
 */
export function createAccess({ access, readOnly }: GenericOptions): (request: AppRequest) => Permission {
  const literal = byRule(access, matchesGlob)
  const folded = byRule(lowerCase(access), matchesWithSlash)
  return ({ method, path, upgrade }) => {
    if (upgrade && !readOnly.webSockets) return 'write'
    if (access.length === 0) return usualPermission(method)
    const [written, meant] = [literal(method, path), folded(method, foldedPath(path))]
    return WEAKEST_FIRST.indexOf(written) > WEAKEST_FIRST.indexOf(meant) ? written : meant
  }
}

/** What a rule for GET asks for, it asks for HEAD: the same answer without its body. */
function byRule(access: GenericOptions['access'], matches: (path: string, glob: string) => boolean): ByRule {
  const rules = access.map(({ methods, path, permission }) => ({
    methods: new Set<string>(methods.includes('GET') ? [...methods, 'HEAD'] : methods),
    glob: dotless(path),
    permission,
  }))
  return (method, path) => {
    const rule = rules.find(({ methods, glob }) => methods.has(method) && matches(dotless(path), glob))
    return rule?.permission ?? usualPermission(method)
  }
}

function lowerCase(access: GenericOptions['access']): GenericOptions['access'] {
  return access.map((rule) => ({ ...rule, path: rule.path.toLowerCase() }))
}

/** To many apps a folder is the same with a slash at its end, so that `admin/**` is about `admin` too. */
function matchesWithSlash(path: string, glob: string): boolean {
  return matchesGlob(path, glob) || matchesGlob(`${path}/`, glob)
}

function usualPermission(method: string): Permission {
  return READING.has(method) ? 'view' : 'write'
}

/** `*` and `**` stand for names that begin with a dot, too: to the matcher a dot becomes a letter like any other. */
function dotless(text: string): string {
  return text.replaceAll('.', '\u0001')
}

/** What an app may take a path for: backslashes turned, slashes merged or dropped, no path parameters, letters in one case. */
function foldedPath(path: string): string {
  return path
    .replaceAll('\\', '/')
    .replace(/;[^/]*/g, '')
    .replace(/\/+/g, '/')
    .replace(/^\/|\/$/g, '')
    .toLowerCase()
}
