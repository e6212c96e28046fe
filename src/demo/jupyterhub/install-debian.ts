import { execFile } from 'node:child_process'
import { mkdir, rm, symlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { JupyterHubInstallation } from './install.ts'

const PACKAGES = ['jupyterhub', 'jupyter-notebook', 'python3-ipykernel', 'python3-psutil']
const COMMANDS = { python: 'python3', jupyterhub: 'jupyterhub', 'jupyterhub-singleuser': 'jupyterhub-singleuser' }

const run = promisify(execFile)

/**
 * Debian’s own JupyterHub (in Debian 12: 3.0 with Notebook 6): the oldest that we test, and what is left where PyPI cannot be
 * reached. Installed with apt when it is missing and we may.
 *
 * @throws {Error} that names the packages when they are missing and cannot be installed
 */
export async function installDebianJupyterHub({
  report,
}: {
  report: (line: string) => void
}): Promise<JupyterHubInstallation> {
  if (!(await hasAll())) {
    report(`installing ${PACKAGES.join(', ')} with apt`)
    await aptInstall()
  }
  const bin = resolve('.cache', 'jupyterhub-debian', 'bin')
  await rm(bin, { recursive: true, force: true })
  await mkdir(bin, { recursive: true })
  for (const [name, command] of Object.entries(COMMANDS)) await symlink(join('/usr/bin', command), join(bin, name))
  return { bin, versions: await versions() }
}

async function aptInstall(): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  try {
    await run('apt-get', ['update', '-qq'], { env })
    await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...PACKAGES], { env })
  } catch (cause) {
    throw new Error(`Debian’s JupyterHub is missing; install it with: apt-get install ${PACKAGES.join(' ')}`, { cause })
  }
}

const describe = async (name: string) => (await run('dpkg', ['-s', name])).stdout

async function hasAll(): Promise<boolean> {
  const found = await Promise.allSettled(PACKAGES.map(describe))
  return found.every((each) => each.status === 'fulfilled' && /^Status: .* installed$/m.test(each.value))
}

async function versions() {
  const version = async (name: string) => /^Version: (.*)$/m.exec(await describe(name))?.[1] ?? 'unknown'
  const { stdout } = await run('/usr/bin/python3', ['--version'])
  return {
    python: stdout.trim().replace('Python ', ''),
    jupyterhub: await version('jupyterhub'),
    jupyterlab: 'none',
    notebook: await version('jupyter-notebook'),
    ipykernel: await version('python3-ipykernel'),
  }
}
