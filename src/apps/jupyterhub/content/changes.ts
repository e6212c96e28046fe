import type { AppRequest } from '../../app.ts'
import type { Change } from './mirror-notes.ts'
import { canMirror } from './paths.ts'

/** How long the pieces of one upload may be apart. */
const PIECES_SECONDS = 120

type Body = Readonly<Record<string, unknown>>

/** What a request to the contents API may change. */
export interface Intent {
  readonly method: 'PUT' | 'POST' | 'PATCH' | 'DELETE'
  /** In the home. */
  readonly path: string
}

/** @returns `undefined` for what changes nothing that goes back: other APIs, reads, checkpoints, hidden files */
export function intentOf({ method, path, upgrade }: AppRequest): Intent | undefined {
  const [, below] = /^api\/contents(?:\/(.*))?$/s.exec(path) ?? []
  const isContents = path === 'api/contents' || below !== undefined
  if (upgrade || !isContents || !isChanging(method)) return undefined
  const inHome = (below ?? '').split('/').filter(Boolean).join('/')
  const [, restored] = /^(.*)\/checkpoints\/[\w-]+$/s.exec(inHome) ?? []
  if (method === 'POST' && restored !== undefined) return mirrorable({ method: 'PUT', path: restored })
  if (/(?:^|\/)(?:checkpoints(?:\/[\w-]+)?|trust)$/.test(inHome)) return undefined
  return mirrorable({ method, path: inHome })
}

/**
 * The changes to remember before the request goes on.
 *
 * @param body of a PATCH, and of a PUT that may be a piece of an upload; `undefined`: not looked at
 * @param now epoch seconds
 */
export function changesOf({ method, path }: Intent, body: unknown, now: number): Change[] {
  const at = now
  if (method === 'POST') return [{ kind: 'new', path, at }]
  if (method !== 'PATCH') {
    const { chunk } = isBody(body) ? body : {}
    const isPiece = typeof chunk === 'number' && chunk !== -1
    return [{ kind: 'path', path, at, ...(isPiece && { notBefore: now + PIECES_SECONDS }) }]
  }
  const to = isBody(body) && typeof body.path === 'string' ? body.path.split('/').filter(Boolean).join('/') : undefined
  if (to === undefined || to === path) return []
  // What becomes hidden is gone for the other side.
  return canMirror(to) ? [{ kind: 'move', path, to, at }] : [{ kind: 'path', path, at }]
}

/** Whether a file with this name may be what the server made of a POST to its folder. */
export function mayBeNew(created: number, { at }: Extract<Change, { kind: 'new' }>): boolean {
  return created >= at - CLOCK_SKEW_SECONDS
}
const CLOCK_SKEW_SECONDS = 120

function mirrorable(intent: Intent): Intent | undefined {
  const isHome = intent.path === '' && intent.method === 'POST'
  return isHome || canMirror(intent.path) ? intent : undefined
}

function isChanging(method: string): method is Intent['method'] {
  return ['PUT', 'POST', 'PATCH', 'DELETE'].includes(method)
}

function isBody(body: unknown): body is Body {
  return typeof body === 'object' && body !== null
}
