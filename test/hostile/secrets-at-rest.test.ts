import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { freePort } from '../../src/demo/listen.ts'
import { launch, pairWith, startScene } from '../flow/harness.ts'

/** All that lies in the gateway’s folder: database, journal, keys, configuration. */
function filesIn(folder: string): { name: string; bytes: Buffer }[] {
  return readdirSync(folder).map((name) => ({ name, bytes: readFileSync(join(folder, name)) }))
}

it('an access token kept for WebDAV is read from a stolen database or Redis dump', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'at-rest-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const apiTokenFile = join(folder, 'hub-token')
  writeFileSync(apiTokenFile, 'a hub token that nobody takes')
  const nowhere = `http://127.0.0.1:${await freePort()}/jupyter/`
  const scene = await startScene({
    webapps: ({ origin }) => [
      {
        name: 'notebooks',
        kind: 'jupyterhub',
        publicUrl: `${origin}/jupyter/`,
        upstream: nowhere,
        jupyterhub: { apiTokenFile },
      },
    ],
  })
  onTestFinished(() => scene.close())
  pairWith(scene.alice, scene.gateway, '/jupyter/.ocm/open')
  const share = await scene.share()
  const token = await scene.token({ share })
  const launched = await launch(scene.gateway, token, { at: '/jupyter/.ocm/open' })
  expect(launched.status).toBe(303)
  const files = filesIn(scene.gateway.folder)
  const databases = files.filter(({ name }) => name.startsWith('gateway.db'))
  expect(
    databases.some(({ bytes }) => bytes.includes('access token')),
    'it is kept',
  ).toBe(true)
  const [header = '', claims = '', signature = ''] = token.split('.')
  const cookie = launched.cookie.slice(launched.cookie.indexOf('=') + 1)
  for (const { name, bytes } of files)
    for (const secret of [token, `${header}.${claims}`, claims, signature, cookie])
      expect(bytes.includes(secret), `a secret in ${name}`).toBe(false)
})
