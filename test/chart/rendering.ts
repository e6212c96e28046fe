import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { helm, must, type Outcome, ROOT, run } from './tools.ts'

export const CHART = join(ROOT, 'charts/ocm-webapp-gateway')

/** The values of real installations, each a file in `ci/`. */
export const INSTALLATIONS = readdirSync(join(CHART, 'ci')).map((file) => ({
  name: file.replace('-values.yaml', ''),
  file: join(CHART, 'ci', file),
}))

// biome-ignore lint/suspicious/noExplicitAny: manifests are looked into, key by key, by tests that know their form
export type Manifest = Record<string, any>

/** Values for a chart that works, but for what a test is about. */
export const SMALL = {
  config: {
    server: { publicUrl: 'https://apps.example.org' },
    ocmServers: { 'cloud.example.org': {} },
    webapps: { app: { kind: 'generic', publicUrl: 'https://app.example.org/', upstream: 'http://app:8080/' } },
  },
}

/** What more than one pod needs. */
export const REDIS = {
  config: {
    server: { signingKeyFile: { existingSecret: 'keys', key: 'signing-key.json' } },
    store: 'redis://redis:6379/0',
    storePasswordFile: { existingSecret: 'redis', key: 'password' },
  },
}

/** `helm template` with values files (paths) and values (objects); later ones are laid over earlier ones. */
export async function template(...values: readonly (string | object)[]): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'values-'))
  const files = values.map((value, index) => {
    if (typeof value === 'string') return value
    const file = join(folder, `${index}.yaml`)
    writeFileSync(file, JSON.stringify(value))
    return file
  })
  const args = ['template', 'gw', CHART, '--namespace', 'apps', ...files.flatMap((file) => ['--values', file])]
  return run(await helm(), args).finally(() => rmSync(folder, { recursive: true }))
}

/** The manifests that are made from those values. @throws {Error} with Helm's words when there are none */
export async function render(...values: readonly (string | object)[]): Promise<Manifest[]> {
  const { code, stdout, stderr } = await template(...values)
  if (code !== 0) throw new Error(stderr)
  return manifestsIn(stdout)
}

function manifestsIn(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) throw new Error(String(document.errors[0]))
    return document.toJS() ?? []
  })
}

/** Why Helm refuses those values. */
export async function refusal(...values: readonly object[]): Promise<string> {
  const { code, stderr } = await template(...values)
  return code === 0 ? 'not refused' : stderr
}

/** The one manifest of that kind, and of that name where there are several. */
export function only(manifests: readonly Manifest[], kind: string, name?: string): Manifest {
  const found = manifests.filter(
    (manifest) => manifest.kind === kind && (name === undefined || manifest.metadata.name === name),
  )
  if (found.length !== 1 || found[0] === undefined)
    throw new Error(`${found.length} manifests are a ${kind} ${name ?? ''}`)
  return found[0]
}

/** The pod template's spec, and the gateway's container in it. */
export function podOf(manifests: readonly Manifest[]) {
  const { metadata, spec } = only(manifests, 'Deployment').spec.template as { metadata: Manifest; spec: Manifest }
  const [container] = spec.containers as Manifest[]
  if (container === undefined) throw new Error('the pod has no container')
  return { metadata, spec, container }
}

/** The configuration file that the program is started with. */
export function configurationOf(manifests: readonly Manifest[]): { text: string; config: Manifest } {
  const { spec } = podOf(manifests)
  const { configMap } = spec.volumes.find(({ name }: Manifest) => name === 'config')
  const text = only(manifests, 'ConfigMap', configMap.name).data['gateway.yaml'] as string
  return { text, config: parse(text) }
}

export async function lint(file: string): Promise<string> {
  return must(await helm(), ['lint', '--strict', CHART, '--values', file])
}
