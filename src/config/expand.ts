import type { Finding } from './messages.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const VARIABLE = /\$\$\{|\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}|\$\{/g

/**
 * The document with `${NAME}` and `${NAME:-default}` filled in, in every string value (keys stay as they are);
 * `$${` stands for `${`. As in a shell, `:-` also counts when the variable is set but empty.
 *
 * A text with a variable that cannot be filled in stays as it is, and is reported.
 */
export function expandVariables(document: unknown, env: Environment): { document: unknown; findings: Finding[] } {
  const findings: Finding[] = []
  const open = new Set<object>()

  function expand(value: unknown, path: readonly PropertyKey[]): unknown {
    if (typeof value === 'string') return expandText(value, env, (message) => findings.push({ path, message }))
    if (typeof value !== 'object' || value === null) return value
    if (open.has(value)) {
      findings.push({ path, message: 'contains itself through a YAML alias (write the value out)' })
      return undefined
    }
    open.add(value)
    const entries = Object.entries(value).map(
      ([key, item]) => [key, expand(item, [...path, keyIn(value, key)])] as const,
    )
    open.delete(value)
    return Array.isArray(value) ? entries.map(([, item]) => item) : Object.fromEntries(entries)
  }

  return { document: expand(document, []), findings }
}

function keyIn(container: object, key: string): PropertyKey {
  return Array.isArray(container) ? Number(key) : key
}

function expandText(text: string, env: Environment, report: (message: string) => void): string {
  const missing = new Set<string>()
  const expanded = text.replace(VARIABLE, (match, name: string | undefined, fallback: string | undefined) => {
    if (match === '$${') return '${'
    const value = name !== undefined && Object.hasOwn(env, name) ? env[name] : undefined
    if (fallback !== undefined) return value || fallback
    if (value === undefined) missing.add(name ?? '')
    return value ?? match
  })
  for (const name of missing) report(name === '' ? NOT_A_VARIABLE : unset(name))
  return missing.size === 0 ? expanded : text
}

// biome-ignore lint/suspicious/noTemplateCurlyInString: the operator is to write just this
const NOT_A_VARIABLE = 'has ${ without a variable name (write ${NAME}, ${NAME:-default}, or $${ for the two characters)'

function unset(name: string): string {
  return `needs the environment variable ${name}, which is not set (set it, or write \${${name}:-default})`
}
