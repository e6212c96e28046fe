import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { stringify } from 'yaml'
import { z } from 'zod'
import { type LoadedConfig, loadConfig } from '../../../src/config/load.ts'
import type { GatewayConfig, KindSchema } from '../../../src/config/schema.ts'

/** Two small kinds: the configuration knows none of the real ones. */
export const kinds: readonly KindSchema[] = [
  {
    kind: 'generic',
    options: () =>
      z.strictObject({
        landing: z.string().default(''),
        stripPath: z.boolean().default(false),
        isolation: z.enum(['none', 'path']).default('none'),
      }),
  },
  {
    kind: 'hub',
    ownsUpstream: true,
    options: (fields) =>
      z.strictObject({
        apiTokenFile: fields.secretFile.optional(),
        maxFileSize: fields.size.prefault('1GiB'),
        stopWhenIdle: fields.duration.prefault('1h'),
      }),
  },
]

/** A folder that is gone when the test has finished. */
export function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'config-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  return folder
}

interface Surroundings {
  readonly env?: Record<string, string>
  readonly files?: Record<string, string>
}

/** Loads a document, or YAML text, as `gateway.yaml` in a folder of its own. */
export function load(document: unknown, { env = {}, files = {} }: Surroundings = {}): LoadedConfig {
  const yaml = typeof document === 'string' ? document : stringify(document)
  return loadConfig(join(folderWith({ ...files, 'gateway.yaml': yaml }), 'gateway.yaml'), { kinds, env })
}

/** The problems as `ocm-gateway check` prints them. */
export function problemsOf(document: unknown, surroundings?: Surroundings): string[] {
  const loaded = load(document, surroundings)
  return 'problems' in loaded ? loaded.problems.map(({ path, message }) => `${path}: ${message}`) : []
}

export function configOf(document: unknown, surroundings?: Surroundings): GatewayConfig {
  const loaded = load(document, surroundings)
  if ('problems' in loaded) throw new Error(JSON.stringify(loaded.problems, undefined, 2))
  return loaded.config
}

/** The least that a configuration must say; a test adds what it is about. */
export function minimal({ server = {}, pairing = {}, webapp = {}, ...rest }: Record<string, object | string> = {}) {
  return {
    server: { publicUrl: 'https://apps.example.org', ...(server as object) },
    ocmServers: [{ domain: 'cloud.example.org', ...(pairing as object) }],
    webapps: [
      {
        name: 'board',
        kind: 'generic',
        publicUrl: 'https://board.example.org/',
        upstream: 'http://board:3000/',
        ...(webapp as object),
      },
    ],
    ...rest,
  }
}
