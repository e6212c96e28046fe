import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { appKinds } from '../../src/apps/registry.ts'
import { checkFiles } from '../../src/check.ts'
import { loadConfig } from '../../src/config/load.ts'

function certificate(folder: string, name: string): void {
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=test']
  const files = ['-keyout', join(folder, `${name}.key`), '-out', join(folder, `${name}.crt`)]
  execFileSync('openssl', [...args, ...files], { stdio: 'ignore' })
}

it('finds out whether a TLS certificate and its key belong together', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'check-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const name of ['one', 'two']) certificate(folder, name)
  writeFileSync(join(folder, 'broken.crt'), 'no certificate')
  const problemsWith = async (certFile: string, keyFile: string) => {
    const file = join(folder, 'gateway.yaml')
    const server = {
      publicUrl: 'https://apps.example.org',
      signingKeyFile: './signing-key.json',
      tls: { certFile, keyFile },
    }
    const ocmServers = [{ domain: 'cloud.example.org' }]
    const webapp = { kind: 'generic', publicUrl: 'https://notes.example.org/', upstream: 'http://notes:8000/' }
    const webapps = [{ name: 'notes', ...webapp }]
    writeFileSync(file, JSON.stringify({ server, store: 'memory:', ocmServers, webapps }))
    const loaded = loadConfig(file, { kinds: appKinds, env: {} })
    if ('problems' in loaded) return loaded.problems
    return checkFiles(loaded.config)
  }
  expect(await problemsWith('./one.crt', './one.key')).toEqual([])
  expect(await problemsWith('./one.crt', './two.key')).toMatchObject([
    { path: 'server.tls.keyFile', message: expect.stringContaining('belong together') },
  ])
  expect(await problemsWith('./broken.crt', './one.key')).toMatchObject([{ path: 'server.tls.certFile' }])
})
