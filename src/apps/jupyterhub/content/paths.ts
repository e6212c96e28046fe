/** Paths of the contents API: relative to the home, decoded, `/` between the names; `''` is the home itself. */

const MAX_NAME_BYTES = 255
export const MAX_DEPTH = 50
/** What the contents API takes for calls of its own at the end of a path. */
const API_WORDS: ReadonlySet<string> = new Set(['checkpoints', 'trust'])

/** Why Jupyter cannot hold something of this name, in words for people; `undefined` when it can. */
export function nameProblem(name: string): string | undefined {
  if (name === '' || name === '.' || name === '..' || name.includes('/')) return 'not a name of a file'
  if (/[\0-\x1f\x7f]/.test(name) || !name.isWellFormed()) return 'characters that no file name can have here'
  if (name.startsWith('.')) return 'hidden files are not shown in Jupyter'
  if (API_WORDS.has(name)) return 'Jupyter has another meaning for this name'
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return 'the name is too long'
  return undefined
}

/** Whether a path can stand for the same thing on both sides. */
export function canMirror(path: string): boolean {
  const names = path.split('/')
  return names.length <= MAX_DEPTH && names.every((name) => nameProblem(name) === undefined)
}

export function joinPath(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`
}

export function parentOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : ''
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

export function isBelow(path: string, folder: string): boolean {
  return folder === '' || path.startsWith(`${folder}/`)
}

/** Outermost first, without the home: `a/b/c` has `a` and `a/b`. */
export function ancestorsOf(path: string): string[] {
  const names = path.split('/').slice(0, -1)
  return names.map((_name, index) => names.slice(0, index + 1).join('/'))
}

/**
 * The name of what is kept beside a file that both sides have changed: `plot (conflict 2026-11-22 14-03).ipynb`. The
 * extension stays, so that it opens as before. UTC.
 *
 * @param now epoch seconds
 * @param attempt 1, or more when the name before is taken
 */
export function conflictPath(path: string, now: number, attempt = 1): string {
  const [, stem = '', extension = ''] = /^(.+?)(\.[^. ]{1,16})?$/.exec(nameOf(path)) ?? []
  const [day = '', time = ''] = new Date(now * 1000).toISOString().split('T')
  const moment = `${day} ${time.slice(0, 5).replace(':', '-')}`
  const mark = ` (conflict ${moment}${attempt > 1 ? ` ${attempt}` : ''})`
  return joinPath(parentOf(path), cutTo(stem, MAX_NAME_BYTES - Buffer.byteLength(mark + extension)) + mark + extension)
}

function cutTo(text: string, bytes: number): string {
  let cut = text
  while (Buffer.byteLength(cut) > bytes) cut = [...cut].slice(0, -1).join('')
  return cut
}
