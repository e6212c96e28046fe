import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'

/** What became of one peer in this run. */
export interface Appearance {
  readonly peer: string
  /** `ran`, or why it did not. */
  readonly outcome: string
}

declare module 'vitest' {
  interface ProvidedContext {
    /** The folder where each test file notes its peer. */
    readonly appearances: string
  }
}

/** Around all tests of the project: at the end, says which peers took part. */
export default function setup(project: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'interop-'))
  project.provide('appearances', folder)
  return () => {
    const told = readdirSync(folder).map((file): Appearance => JSON.parse(readFileSync(join(folder, file), 'utf8')))
    rmSync(folder, { recursive: true })
    const lines = told.map(({ peer, outcome }) => `  ${peer.padEnd(32)} ${outcome}\n`)
    process.stdout.write(`\nIndependent peers of this run:\n${lines.join('')}\n`)
  }
}
