import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../../src/demo/listen.ts'
import { until } from './until.ts'
import { startWopiScene, type WopiScene } from './wopi-scene.ts'

/** WebDAV servers that others wrote, where they are installed. */
interface Sender {
  /** Serves a folder. @returns the URL of the folder */
  start(folder: string): Promise<string>
}

const APACHE_MODULES = '/usr/lib/apache2/modules'

const senders: Record<string, Sender> = {
  rclone: {
    async start(folder) {
      const port = await freePort()
      run('rclone', ['serve', 'webdav', folder, '--addr', `127.0.0.1:${port}`, '--config', '/dev/null'])
      return answering(`http://127.0.0.1:${port}/`)
    },
  },
  apache2: {
    async start(folder) {
      const port = await freePort()
      const home = temporaryFolder('apache-')
      const modules = ['mpm_event', 'authz_core', 'dav', 'dav_fs', 'dav_lock']
      const lines = [
        `ServerRoot ${home}`,
        `ServerName 127.0.0.1`,
        `Listen 127.0.0.1:${port}`,
        `PidFile ${home}/pid`,
        `ErrorLog ${home}/log`,
        ...modules.map((name) => `LoadModule ${name}_module ${APACHE_MODULES}/mod_${name}.so`),
        `DavLockDB ${home}/locks`,
        `DocumentRoot ${folder}`,
        `<Directory ${folder}>`,
        'Dav On',
        'Require all granted',
        '</Directory>',
        ...(process.getuid?.() === 0 ? ['User www-data', 'Group www-data'] : []),
      ]
      writeFileSync(join(home, 'conf'), lines.join('\n'))
      if (process.getuid?.() === 0) execFileSync('chown', ['-R', 'www-data', home, folder])
      run('apache2', ['-X', '-f', join(home, 'conf')])
      return answering(`http://127.0.0.1:${port}/`)
    },
  },
}

function isInstalled(command: string): boolean {
  try {
    execFileSync('which', [command])
    return true
  } catch {
    return false
  }
}

function temporaryFolder(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), prefix))
  execFileSync('chmod', ['755', folder])
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function run(command: string, args: string[]): ChildProcess {
  const child = spawn(command, args, { stdio: 'ignore' })
  onTestFinished(() => void child.kill())
  return child
}

async function answering(url: string): Promise<string> {
  await until(
    'the WebDAV server answers',
    async () => (await fetch(url, { method: 'OPTIONS' }).catch(() => undefined))?.ok,
  )
  return url
}

/** A share of something at that server, opened by the launch’s path. */
async function openAt(scene: WopiScene, uri: string, resourceType: 'file' | 'folder', at?: string) {
  const made = await scene.share({ uri: `${scene.gateway.origin}/office/.ocm/open`, resource: scene.report })
  const notification = scene.alice.notification(made)
  const { webapp } = notification.protocol
  const protocol = { name: 'multi', webapp, webdav: { uri } }
  await scene.alice.provision({ ...notification, resourceType, protocol })
  return scene.edit(await scene.launch(await scene.token({ share: made }), at))
}

function conflictCopies(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => name.includes('conflict'))
  return names.map((name) => readFileSync(join(folder, name), 'utf8'))
}

describe.each(Object.entries(senders))('a sender whose WebDAV server is %s', (command, sender) => {
  it.skipIf(!isInstalled(command))(
    'a document is opened, locked there, saved and unlocked; a foreign change is kept beside it',
    async () => {
      const folder = temporaryFolder('sender-')
      const file = join(folder, 'papers', 'a text.odt')
      mkdirSync(join(folder, 'papers'))
      writeFileSync(file, 'first words')
      const url = await sender.start(folder)
      const scene = await startWopiScene()
      const editor = await openAt(scene, `${url}papers/`, 'folder', '/office/.ocm/open/a%20text.odt')
      const info = await editor.info()
      expect(info).toMatchObject({ BaseFileName: 'a text.odt', Size: 11 })
      expect(await editor.read()).toBe('first words')
      expect((await editor.lock('L')).status).toBe(200)
      const headers = (time: unknown) => ({ 'X-COOL-WOPI-Timestamp': String(time), 'X-COOL-WOPI-IsAutosave': 'true' })
      const saved = await editor.save('second words', 'L', headers(info.LastModifiedTime))
      expect(saved.status, saved.body.toString()).toBe(200)
      expect(readFileSync(file, 'utf8')).toBe('second words')
      const foreign = await fetch(`${url}papers/a%20text.odt`, { method: 'PUT', body: 'by alice' })
      expect(foreign.status, 'it is locked there').toBe(423)
      expect((await editor.unlock('L')).status).toBe(200)
      expect((await fetch(`${url}papers/a%20text.odt`, { method: 'PUT', body: 'by alice' })).ok).toBe(true)
      expect((await editor.lock('L')).status).toBe(200)
      const refused = await editor.save('third words', 'L', headers(saved.json().LastModifiedTime))
      expect([refused.status, refused.json().COOLStatusCode]).toEqual([409, 1010])
      expect(readFileSync(file, 'utf8')).toBe('by alice')
      expect(conflictCopies(join(folder, 'papers'))).toEqual(['third words'])
    },
  )

  it.skipIf(!isInstalled(command))('a share of a single file is found, also as a folder with one member', async () => {
    const folder = temporaryFolder('sender-')
    const scene = await startWopiScene()
    writeFileSync(join(folder, scene.report), 'single')
    const url = await sender.start(folder)
    const named = await openAt(scene, `${url}${encodeURIComponent(scene.report)}`, 'file')
    expect(await named.read()).toBe('single')
    const inFolder = await openAt(scene, url, 'file')
    expect(await inFolder.read()).toBe('single')
  })
})
