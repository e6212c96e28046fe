import { dirname, resolve } from 'node:path'
import { crossCheck } from './cross-checks.ts'
import { type Environment, expandVariables } from './expand.ts'
import { asFindings, type Finding, formatPath, inWords, isSection, valueAt } from './messages.ts'
import { type ReadFile, readDocument, readFromDisk, readSecret } from './read.ts'
import {
  createFields,
  type Fields,
  type GatewayConfig,
  gatewaySchema,
  type KindSchema,
  strayWebappSchema,
} from './schema.ts'

/** Something for the operator: `path` as in `webapps[0].publicUrl`, or `(file)`; `message` is a single line. */
export interface Problem {
  readonly path: string
  readonly message: string
}

/** `warnings`: allowed, but risky. */
export type LoadedConfig =
  | { readonly config: GatewayConfig; readonly warnings: readonly Problem[] }
  | { readonly problems: readonly Problem[] }

interface LoadOptions {
  readonly kinds: readonly KindSchema[]
  readonly env: Environment
  /** Told of every file that is read, or should have been there. */
  readonly reads?: (file: string) => void
  /** Default: from disk. */
  readonly readFile?: ReadFile
}

/**
 * Reads the configuration and the secret files it names. Never throws: all mistakes are reported, at once.
 *
 * Does NOT try anything beyond the files: neither the store, nor the apps, nor the OCM servers are asked.
 */
export function loadConfig(
  file: string,
  { kinds, env, reads = () => {}, readFile = readFromDisk }: LoadOptions,
): LoadedConfig {
  reads(resolve(file))
  const { document, findings } = readDocument(file, readFile)
  if (document === undefined) return { problems: asProblems(findings) }

  const expanded = expandVariables(document, env)
  const readNamed = (path: string) => {
    reads(path)
    return readSecret(path, readFile)
  }
  const sources = { baseDir: dirname(resolve(file)), readSecret: readNamed }
  const fields = createFields(sources)
  const parsed = gatewaySchema(kinds, sources).safeParse(expanded.document, { error: inWords })
  const issues = [...(parsed.error?.issues ?? []), ...strayWebappIssues(expanded.document, kinds, fields)]
  const { problems, warnings } = crossCheck(expanded.document, kinds, fields)

  const unfilled = new Set(expanded.findings.map(({ path }) => formatPath(path)))
  const misshapen = asFindings(issues, document).filter(({ path }) => !unfilled.has(formatPath(path)))
  const all = [...findings, ...expanded.findings, ...misshapen, ...problems]
  if (parsed.data === undefined || all.length > 0) return { problems: asProblems(all) }
  return { config: parsed.data, warnings: asProblems(warnings) }
}

/** A webapp whose kind is not known has no schema of its own; its other mistakes must show all the same. */
function strayWebappIssues(document: unknown, kinds: readonly KindSchema[], fields: Fields) {
  const known = kinds.map(({ kind }) => kind)
  const webapps = valueAt(document, ['webapps'])
  return (Array.isArray(webapps) ? webapps : []).flatMap((webapp: unknown, index) => {
    const kind = valueAt(webapp, ['kind'])
    const named = typeof kind === 'string' ? [kind] : []
    if (!isSection(webapp) || named.some((name) => known.includes(name))) return []
    const { error } = strayWebappSchema([...known, ...named], fields).safeParse(webapp, { error: inWords })
    return (error?.issues ?? []).map((issue) => ({ ...issue, path: ['webapps', index, ...issue.path] }))
  })
}

const byPath = new Intl.Collator('en', { numeric: true })

/** What belongs to one section of the file stands together. */
function asProblems(findings: readonly Finding[]): Problem[] {
  return findings
    .map(({ path, message }) => ({ path: formatPath(path), message: message.replace(/\p{Cc}+/gu, ' ') }))
    .toSorted((a, b) => byPath.compare(a.path, b.path))
}
