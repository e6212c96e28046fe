import { z } from 'zod'

/** Something the operator has to put right, and where: keys and list indices from the top of the file. */
export interface Finding {
  readonly path: readonly PropertyKey[]
  readonly message: string
}

/**
 * zod's findings in the operator's words. A message that begins with "must" says only what would be right:
 * `asFindings` puts what stands in the file before it.
 */
export const inWords: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${typeInWords(issue)}`
    case 'invalid_value':
      return oneOf(issue.values.map(String), issue.input)
    case 'invalid_union':
      return Array.isArray(issue.options) && typeof issue.discriminator === 'string'
        ? oneOf(issue.options.map(String), valueAt(issue.input, [issue.discriminator]))
        : 'must have one of the documented forms'
    case 'too_small':
    case 'too_big':
      return limitInWords(issue)
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, shapeOf(issue.inst))).join('\n')
    case 'invalid_key':
      return `cannot be used as a name here (${issue.issues[0]?.message ?? 'must have another form'})`
    default:
      return 'must have the documented form'
  }
}

/** What a failed parse of `document` says, one finding per mistake; an unknown key has its own path. */
export function asFindings(issues: readonly z.core.$ZodIssue[], document: unknown): Finding[] {
  const misspelt = issues.filter((issue) => issue.code === 'unrecognized_keys')
  return issues.flatMap((issue) => {
    const { path, message } = issue
    if (issue.code === 'unrecognized_keys') return splitByKey(issue)
    const value = valueAt(document, path)
    const isMisspelt = value === undefined && misspelt.some((unknown) => standsInFor(unknown, path))
    return isMisspelt ? [] : [{ path, message: withWhatIsThere(message, value) }]
  })
}

function splitByKey({ path, message, keys }: z.core.$ZodIssueUnrecognizedKeys): Finding[] {
  return message.split('\n').map((line, index) => ({ path: [...path, keys[index] ?? ''], message: line }))
}

/** Whether the missing key at `path` is there after all, with a typing mistake: that is one mistake, not two. */
function standsInFor(unknown: z.core.$ZodIssueUnrecognizedKeys, path: readonly PropertyKey[]): boolean {
  const sameSection = formatPath(unknown.path) === formatPath(path.slice(0, -1))
  return sameSection && nearest(String(path.at(-1)), unknown.keys) !== undefined
}

/** `webapps[0].publicUrl`; the file itself is `(file)`. */
export function formatPath(path: readonly PropertyKey[]): string {
  const text = path.map((key) => (typeof key === 'number' ? `[${key}]` : formatKey(String(key)))).join('')
  return text.replace(/^\./, '') || '(file)'
}

function formatKey(key: string): string {
  return /^[\w-]+$/.test(key) ? `.${key}` : `[${quote(key)}]`
}

/** The candidate that `word` was probably meant to be: few typing mistakes away, letter case ignored. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ candidate, distance }) => distance <= Math.ceil(Math.min(word.length, candidate.length) / 3))
    .sort((a, b) => a.distance - b.distance)
  return ranked[0]?.candidate
}

/** Levenshtein distance: insertions, deletions and replacements of one character. */
function editDistance(from: string, to: string): number {
  // No name of ours is that long, and the work must not grow with what a file contains.
  if (from.length > 100) return from.length
  let row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (const [line, letter] of [...from].entries()) {
    const next = [line + 1]
    for (const [column, other] of [...to].entries()) {
      const replaced = (row[column] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}

/** A YAML mapping, as opposed to text, a number, a list or nothing. */
export function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What stands at a path; `undefined` when nothing does. */
export function valueAt(document: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce((value: unknown, key) => {
    const inside = typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    return inside ? (value as Record<PropertyKey, unknown>)[key] : undefined
  }, document)
}

function withWhatIsThere(message: string, value: unknown): string {
  return message.startsWith('must ') ? `${whatIsThere(value)} (${message})` : message
}

/** Shows the file's own text, never what a variable holds: that may be a secret. */
function whatIsThere(value: unknown): string {
  if (value === undefined) return 'is missing'
  if (value === null || value === '') return 'is empty'
  if (Array.isArray(value)) return value.length === 0 ? 'is an empty list' : 'is a list'
  if (typeof value === 'object') return 'is a section with keys of its own'
  if (typeof value !== 'string') return `is ${value}`
  const variable = /(?<!\$)\$\{\w+/.exec(value)?.[0]
  return variable ? `is not right with ${variable}} filled in` : `is ${quote(value)}`
}

/** One line, of bearable length, without the password of a URL. */
function quote(text: string): string {
  const harmless = text.replace(/\/\/[^/@\s]*@/g, '//…@')
  return JSON.stringify(harmless.length > 80 ? `${harmless.slice(0, 80)}…` : harmless)
}

function typeInWords({ expected, input, inst }: z.core.$ZodRawIssue<z.core.$ZodIssueInvalidType>): string {
  const bare = typeof input === 'string' ? ', written without quotes or a variable' : ''
  switch (expected) {
    case 'string':
      return 'text'
    case 'boolean':
      return `true or false${bare}`
    case 'number':
      return `a number${bare}`
    case 'int':
      return `a whole number${bare}`
    case 'array':
      return 'a list'
    default: {
      const keys = shapeOf(inst).slice(0, 3)
      return keys.length > 0 ? `a section with keys such as ${keys.join(', ')}` : 'a section with keys of its own'
    }
  }
}

type Limit = z.core.$ZodRawIssue<z.core.$ZodIssueTooSmall> | z.core.$ZodRawIssue<z.core.$ZodIssueTooBig>

function limitInWords(issue: Limit): string {
  const [limit, side] = issue.code === 'too_small' ? [issue.minimum, 'least'] : [issue.maximum, 'most']
  if (issue.origin === 'array') return `must have at ${side} ${limit} ${limit === 1 ? 'entry' : 'entries'}`
  if (issue.origin === 'string') return `must have at ${side} ${limit} character${limit === 1 ? '' : 's'}`
  if (issue.inclusive === false) return `must be ${side === 'least' ? 'more' : 'less'} than ${limit}`
  return `must be at ${side} ${limit}`
}

const disjunction = new Intl.ListFormat('en-GB', { type: 'disjunction' })

function oneOf(values: readonly string[], input: unknown): string {
  const meant = typeof input === 'string' ? nearest(input, values) : undefined
  return `must be ${disjunction.format(values)}${meant ? `; did you mean ${meant}?` : ''}`
}

function unknownKey(key: string, known: readonly string[]): string {
  const name = /^[\w-]+$/.test(key) ? `\`${key}\`` : quote(key)
  const meant = nearest(key, known)
  return `unknown key ${name} (${meant ? `did you mean \`${meant}\`?` : `known here: ${known.join(', ')}`})`
}

/** The keys of an object schema, or of all forms of a union of them. */
function shapeOf(schema: unknown): string[] {
  if (schema instanceof z.ZodObject) return Object.keys(schema.shape)
  if (schema instanceof z.ZodPipe) return shapeOf(schema.in)
  if (schema instanceof z.ZodUnion) return [...new Set(schema.options.flatMap(shapeOf))]
  return []
}
