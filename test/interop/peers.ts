import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, inject } from 'vitest'
import type { Appearance } from './report.ts'

const ROOT = join(import.meta.dirname, '../..')
/** Where what was downloaded and built stays from run to run. */
export const CACHE = join(ROOT, '.cache/interop')

const OBTAIN_MS = 900_000
const COMMAND_MS = 840_000

/** Software that others wrote, running. */
export interface Peer {
  stop(): Promise<void>
}

/** The peer cannot be had on this machine: not installed, not to be downloaded. A peer that fails to start is not missing. */
class PeerMissing extends Error {
  override readonly name = 'PeerMissing'
}

/**
 * Obtains a peer before the tests of a file, and stops it after them. Where it cannot be had, its tests are skipped and
 * the report says why. A peer that is there and does not start, fails them.
 *
 * @param name with its version
 */
export function usePeer<T extends Peer>(name: string, obtain: () => Promise<T>): () => T {
  let peer: T | undefined
  let missing: string | undefined

  beforeAll(async () => {
    try {
      peer = await obtain()
      appeared({ peer: name, outcome: 'ran' })
    } catch (error) {
      if (!(error instanceof PeerMissing)) throw error
      missing = `${name} cannot be had here: ${error.message}`
      appeared({
        peer: name,
        outcome: `MISSING (its tests are skipped): ${error.message}`,
      })
    }
  }, OBTAIN_MS)
  beforeEach(({ skip }) => skip(missing !== undefined, missing))
  afterAll(() => peer?.stop())

  return () => {
    if (peer === undefined) throw new Error(`${name} is not running`)
    return peer
  }
}

/** `name version` of an installed npm package. */
export function npmPackage(name: string): string {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'))
  return `${name} ${version}`
}

/** Test files run in processes of their own: each leaves a note for the report. */
function appeared(appearance: Appearance): void {
  const file = `${appearance.peer.replace(/[^\w.-]+/g, '-')}.json`
  writeFileSync(join(inject('appearances'), file), JSON.stringify(appearance))
}

/**
 * Runs a command that brings a peer to this machine.
 *
 * @throws {PeerMissing} when the command is not there, or fails
 */
export async function bring(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<void> {
  try {
    await promisify(execFile)(command, args, {
      env: { ...process.env, ...env },
      timeout: COMMAND_MS,
      maxBuffer: 64 * 1024 * 1024,
    })
  } catch (cause) {
    const { code, stdout = '', stderr = '' } = cause as { code?: unknown; stdout?: string; stderr?: string }
    if (code === 'ENOENT') throw new PeerMissing(`${command} is not installed`, { cause })
    const words = `${stdout}\n${stderr}`.trim().split('\n').slice(-3).join(' ').replace(/\s+/g, ' ')
    throw new PeerMissing(`${command} ${args[0]} failed: ${words}`, { cause })
  }
}
