import { expect, it, onTestFinished } from 'vitest'
import { z } from 'zod'
import { checkEditor } from '../../../../src/apps/wopi/check-editor.ts'
import { createDiscovery } from '../../../../src/apps/wopi/discovery.ts'
import { wopiOptions } from '../../../../src/apps/wopi/options.ts'
import { createFields, webappFields } from '../../../../src/config/schema.ts'
import { createOutbound } from '../../../../src/core/outbound.ts'
import { Secret } from '../../../../src/core/secret.ts'
import { type EditorOptions, startEditor } from '../../../flow/wopi-editor.ts'
import { createClock, createToldEvents } from '../../fixtures.ts'

const fields = createFields({ baseDir: '/', readSecret: () => new Secret('') })

async function found(
  options: EditorOptions,
  written: { path?: string; wopi?: Record<string, unknown>; url?: string } = {},
) {
  const editor = await startEditor({ base: '/office/', ...options })
  onTestFinished(() => editor.close())
  const outbound = createOutbound({ insecureLoopback: true })
  onTestFinished(() => outbound.destroy())
  const publicUrl = `https://apps.example.org${written.path ?? '/office/'}`
  const common = z.strictObject(webappFields(fields)).parse({ name: 'office', publicUrl, upstream: editor.url })
  const webapp = { ...common, kind: 'wopi', options: wopiOptions(fields).parse(written.wopi ?? {}) }
  const url = written.url ?? `${editor.url}hosting/discovery`
  const { events } = createToldEvents()
  const discovery = createDiscovery({ url, webapp: 'office', outbound, events, now: createClock().now })
  const findings = await checkEditor(webapp, url, { discovery, outbound })
  return findings.map(({ ok, path, message }) => `${ok ? 'ok' : 'wrong'} ${path}: ${message}`)
}

it('tells what the editor is, and the alias group that it needs', async () => {
  expect(await found({})).toEqual([
    'ok wopi.discoveryUrl: collabora editor, opens 5 types of file',
    'ok publicUrl: the editor’s pages are below /office/',
    'ok wopi.proof: the editor signs what it asks',
    'ok wopi.discoveryUrl: it is Test editor',
    'ok wopi.hostUrl: Collabora must allow this WOPI host, and no other: aliasgroup1=https://apps.example.org:443',
  ])
})

it('tells what is wrong: no discovery, pages elsewhere, keys that are required and missing', async () => {
  const nowhere = await found({}, { url: 'http://127.0.0.1:1/hosting/discovery' })
  expect(nowhere).toEqual([expect.stringMatching(/^wrong wopi\.discoveryUrl: .*must be the editor’s WOPI discovery/)])
  expect(await found({ signs: false }, { path: '/docs/', wopi: { proof: 'require' } })).toMatchObject({
    1: expect.stringMatching(/^wrong publicUrl: .*service root to \/docs/),
    2: expect.stringMatching(/^wrong wopi\.proof: /),
  })
})
