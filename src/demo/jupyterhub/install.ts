import { execFile, spawn } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

/** What the rig installs from PyPI: the newest JupyterHub 5 and JupyterLab 4 that were tested together. */
const PINS = { jupyterhub: '5.5.4', jupyterlab: '4.6.6', notebook: '7.6.5', ipykernel: '7.4.0' }
const OLDEST_PYTHON = [3, 10] as const

type Report = (line: string) => void

interface JupyterHubVersions {
  readonly python: string
  readonly jupyterhub: string
  readonly jupyterlab: string
  readonly notebook: string
  readonly ipykernel: string
}

export interface JupyterHubInstallation {
  /** The folder of the environment's executables: `python`, `jupyterhub`, `jupyterhub-singleuser`. */
  readonly bin: string
  readonly versions: JupyterHubVersions
}

interface InstallOptions {
  /** Where the Python environment lives; it cannot be moved afterwards. */
  readonly folder?: string
  readonly report: Report
  /** The interpreter to build it with. */
  readonly python?: string
}

/**
 * JupyterHub and JupyterLab in a Python environment of their own; about 400 MB and a minute the first time, at once
 * when it is there already. A half-made environment is thrown away.
 *
 * Does NOT pin what these packages depend on, and two installations into one folder at once are not told apart.
 */
export async function installJupyterHub(options: InstallOptions): Promise<JupyterHubInstallation> {
  const { folder = defaultFolder(), report, python = 'python3' } = options
  const bin = join(folder, 'bin')
  const marker = join(folder, 'installed.json')
  const installed = await readVersions(marker)
  if (installed) return { bin, versions: installed }

  const versions = { python: await usablePython(python), ...PINS }
  report(`making a Python ${versions.python} environment in ${folder}`)
  await rm(folder, { recursive: true, force: true })
  await run(python, ['-m', 'venv', folder])
  await installPackages(join(bin, 'python'), report)
  await silenceNotifications(folder)
  await writeFile(marker, JSON.stringify(versions))
  return { bin, versions }
}

const defaultFolder = () => resolve('.cache', `jupyterhub-${PINS.jupyterhub}-jupyterlab-${PINS.jupyterlab}`)

async function readVersions(marker: string): Promise<JupyterHubVersions | undefined> {
  const text = await readFile(marker, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const versions: JupyterHubVersions = JSON.parse(text)
  const asPinned = Object.entries(PINS).every(([name, version]) => versions[name as keyof typeof PINS] === version)
  return asPinned ? versions : undefined
}

/** The interpreter's version, or an error that names the missing package: Debian ships Python without `venv`. */
async function usablePython(python: string): Promise<string> {
  const { stdout } = await promisify(execFile)(python, [
    '-c',
    'import sys; print("%d.%d.%d" % sys.version_info[:3]); import ensurepip, venv',
  ]).catch((cause) => {
    const found = cause.code !== 'ENOENT'
    const problem = found ? `${python} has no venv module` : `${python} was not found`
    throw new Error(`${problem}; install it first (Debian, Ubuntu: apt-get install python3-venv)`, { cause })
  })
  const version = stdout.trim()
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [oldestMajor, oldestMinor] = OLDEST_PYTHON
  if (major !== oldestMajor || minor < oldestMinor) {
    throw new Error(`${python} is Python ${version}; JupyterLab needs ${OLDEST_PYTHON.join('.')} or newer`)
  }
  return version
}

async function installPackages(python: string, report: Report): Promise<void> {
  const packages = Object.entries(PINS).map(([name, version]) => `${name}==${version}`)
  report(`downloading ${packages.join(', ')} from PyPI`)
  const pip = ['-m', 'pip', 'install', '--no-input', '--disable-pip-version-check', '--only-binary=:all:', ...packages]
  await run(python, pip, (line) => {
    const [, names] = /^Installing collected packages: (.*)/.exec(line) ?? []
    if (names !== undefined) report(`installing ${names.split(',').length} Python packages`)
  })
}

/** JupyterLab's own setting: no question about news, and no look for updates on the network. */
async function silenceNotifications(folder: string): Promise<void> {
  const settings = join(folder, 'share', 'jupyter', 'lab', 'settings')
  await mkdir(settings, { recursive: true })
  const notification = { checkForUpdates: false, fetchNews: 'false' }
  const overrides = { '@jupyterlab/apputils-extension:notification': notification }
  await writeFile(join(settings, 'overrides.json'), JSON.stringify(overrides))
}

/** Runs a command to its end; a failure shows the command's last words. */
async function run(command: string, args: string[], onLine: (line: string) => void = () => {}): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const lines: string[] = []
  for (const output of [child.stdout, child.stderr]) {
    createInterface(output).on('line', (line) => {
      lines.push(line)
      onLine(line)
    })
  }
  const code = await new Promise((done, failed) => child.on('error', failed).on('close', done))
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${lines.slice(-15).join('\n')}`)
}
