import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { startWopiScene } from '../flow/wopi-scene.ts'
import { bring, usePeer } from './peers.ts'

const CONVERSION_MS = 90_000

/** LibreOffice as a program that makes and reads documents. */
async function startLibreOffice() {
  const apt = ['install', '-y', '-qq', '--no-install-recommends', 'libreoffice-writer-nogui']
  await bring('soffice', ['--version']).catch(() => bring('apt-get', apt, { DEBIAN_FRONTEND: 'noninteractive' }))
  const folder = mkdtempSync(join(tmpdir(), 'libreoffice-'))
  return {
    /** The same document in another format. @param to an extension, without its dot */
    async convert(document: Buffer | string, from: string, to: string): Promise<Buffer> {
      const file = join(folder, `document.${from}`)
      writeFileSync(file, document)
      const profile = `-env:UserInstallation=file://${folder}/profile`
      const args = [profile, '--headless', '--convert-to', to, '--outdir', join(folder, 'out'), file]
      await promisify(execFile)('soffice', args, { timeout: CONVERSION_MS, env: { ...process.env, HOME: folder } })
      return readFileSync(join(folder, 'out', `document.${to}`))
    },
    stop: async () => rmSync(folder, { recursive: true, force: true }),
  }
}

const office = usePeer('LibreOffice of Debian', startLibreOffice)

it('a document that an editor saves through the gateway is one that LibreOffice opens', async () => {
  const scene = await startWopiScene()
  const { client, text } = { client: await scene.start(), text: 'Grüße aus dem Gateway – 中文' }
  expect(await client.info()).toMatchObject({ UserCanWrite: true })
  expect((await client.lock('L')).status).toBe(200)
  const document = await office().convert(text, 'txt', 'odt')
  expect((await client.save(document, 'L')).status).toBe(200)
  const stored = scene.alice.treeOf(client.opened.share.resource).get('')
  expect(stored !== 'folder' && stored?.body.equals(document), 'the sender has the very bytes').toBe(true)
  const { body: served } = await client.call({ contents: true })
  expect(served.equals(document), 'the editor gets the very bytes').toBe(true)
  const read = await office().convert(served, 'odt', 'txt')
  expect(read.toString('utf8')).toContain(text)
}, 240_000)
