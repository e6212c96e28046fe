import { readFileSync } from 'node:fs'
import { LineCounter, parseDocument, type YAMLError, type YAMLWarning } from 'yaml'
import { Secret } from '../core/secret.ts'
import type { Finding } from './messages.ts'

/** The text of a file. @throws {NodeJS.ErrnoException} when it cannot be had */
export type ReadFile = (path: string) => string

export const readFromDisk: ReadFile = (path) => readFileSync(path, 'utf8')

/**
 * A text file as a whole.
 *
 * @throws an error whose message tells the operator what to do about it, and contains the path but no content
 */
function readText(path: string, readFile: ReadFile): string {
  try {
    return readFile(path)
  } catch (error) {
    const { code = 'unreadable' } = error as NodeJS.ErrnoException
    throw new Error(FILE_ERRORS[code]?.(path) ?? `${path} (${code})`)
  }
}

const FILE_ERRORS: Record<string, (path: string) => string> = {
  ENOENT: (path) => `there is no file ${path} (create it, or correct the path)`,
  ENOTDIR: (path) => `there is no file ${path} (create it, or correct the path)`,
  EISDIR: (path) => `${path} is a folder (must be a file)`,
  EACCES: (path) => `${path} is closed to the user this runs as (allow that user to read it)`,
}

/**
 * What a secret file holds, less one trailing newline.
 *
 * @throws as `readText`, and when there is nothing in it
 */
export function readSecret(path: string, readFile: ReadFile): Secret {
  const value = readText(path, readFile).replace(/\r?\n$/, '')
  if (value === '') throw new Error(`${path} is empty (must hold the secret)`)
  return new Secret(value)
}

/** The YAML document in a file; none when so much is wrong with it that looking further would only mislead. */
export function readDocument(file: string, readFile: ReadFile): { document?: unknown; findings: Finding[] } {
  try {
    return parseYaml(readText(file, readFile))
  } catch (error) {
    return { findings: [{ path: [], message: `cannot be read: ${(error as Error).message}` }] }
  }
}

function parseYaml(text: string): { document?: unknown; findings: Finding[] } {
  const lineCounter = new LineCounter()
  const parsed = parseDocument(text, { lineCounter, prettyErrors: false, logLevel: 'error' })
  const inFile = (error: YAMLError | YAMLWarning): Finding => {
    const { line, col } = lineCounter.linePos(error.pos[0])
    return { path: [], message: `line ${line}, column ${col}: ${yamlInWords(error, text)}` }
  }
  // What follows a broken structure is noise.
  const broken = parsed.errors.find(({ code }) => code !== 'DUPLICATE_KEY')
  if (broken) return { findings: [inFile(broken)] }
  // Warnings are about tags such as !secret, which would silently do nothing.
  return { document: parsed.toJS(), findings: [...parsed.errors, ...parsed.warnings].map(inFile) }
}

function yamlInWords({ code, message, pos }: YAMLError | YAMLWarning, text: string): string {
  switch (code) {
    case 'DUPLICATE_KEY': {
      const key = /^[\w-]+/.exec(text.slice(pos[0]))?.[0] ?? 'at this place'
      return `the key ${key} stands twice in one section (keep one of the two)`
    }
    case 'UNEXPECTED_TOKEN':
      return 'is not valid YAML: nothing more may stand here (put quotes around a value with { } [ ] , : or # in it)'
    case 'MULTIPLE_DOCS':
      return 'a second document begins (must be one document only)'
    default:
      return `is not valid YAML: ${message}`
  }
}
