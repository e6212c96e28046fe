import { type ChildProcess, spawn } from 'node:child_process'
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../src/demo/listen.ts'
import { until } from '../flow/until.ts'
import { bring, type Peer } from './peers.ts'

/** A WebDAV server that others wrote, over an empty folder. */
export interface WebdavPeer extends Peer {
  readonly url: string
  /** What it keeps its files in. */
  readonly files: string
}

async function serving(command: string, args: (place: { folder: string; files: string; port: number }) => string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'webdav-'))
  const files = join(folder, 'files')
  mkdirSync(files)
  const port = await freePort()
  const child = spawn(command, args({ folder, files, port }), { stdio: ['ignore', 'pipe', 'pipe'] })
  const said = wordsOf(child)
  const url = `http://127.0.0.1:${port}/dav/`
  const stop = async () => {
    const ended = new Promise((resolve) => child.once('close', resolve))
    if (child.exitCode === null && child.kill()) await ended
    rmSync(folder, { recursive: true })
  }
  try {
    await until('the WebDAV server answers', () => {
      if (child.exitCode !== null) throw new Error(`${command} ended: ${said()}`)
      return fetch(url, { method: 'OPTIONS' }).then(
        ({ ok }) => ok,
        () => false,
      )
    })
  } catch (error) {
    await stop()
    throw error
  }
  return { url, files, stop }
}

function wordsOf({ stdout, stderr }: ChildProcess): () => string {
  let words = ''
  for (const stream of [stdout, stderr]) stream?.on('data', (chunk) => (words += chunk))
  return () => words.slice(-2000)
}

/** Debian’s user for web servers. */
const WWW_DATA = 33

const apt = (name: string) =>
  bring('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], { DEBIAN_FRONTEND: 'noninteractive' })

/** Go’s own WebDAV library, as rclone serves it. */
export async function startRclone(): Promise<WebdavPeer> {
  await bring('rclone', ['version']).catch(() => apt('rclone'))
  return serving('rclone', ({ files, port }) => [
    'serve',
    'webdav',
    files,
    '--addr',
    `127.0.0.1:${port}`,
    '--baseurl',
    'dav',
    '--config',
    '/dev/null',
  ])
}

/** Apache’s mod_dav. */
export async function startApache(): Promise<WebdavPeer> {
  await bring('/usr/sbin/apache2', ['-v']).catch(() => apt('apache2-bin'))
  return serving('/usr/sbin/apache2', ({ folder, files, port }) => {
    const file = join(folder, 'httpd.conf')
    const modules = ['mpm_event', 'authz_core', 'dav', 'dav_fs', 'dav_lock', 'alias']
    const isRoot = process.getuid?.() === 0
    // Apache does not serve as root.
    if (isRoot) for (const path of [folder, files]) chownSync(path, WWW_DATA, WWW_DATA)
    const user = isRoot ? `User #${WWW_DATA}\nGroup #${WWW_DATA}\n` : ''
    writeFileSync(
      file,
      `ServerRoot ${folder}
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile ${folder}/httpd.pid
DefaultRuntimeDir ${folder}
ErrorLog ${folder}/error.log
${modules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
${user}DavLockDB ${folder}/locks
Alias /dav ${files}
<Directory ${files}>
  Dav On
  Require all granted
</Directory>
`,
    )
    return ['-DFOREGROUND', '-f', file]
  })
}
