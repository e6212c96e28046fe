import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type SendingServer, startSendingServer } from '../../src/demo/sending-server.ts'
import { runCommand } from './command.ts'
import { type EditorOptions, startEditor } from './wopi-editor.ts'

const OFFICE = 'webapps[0].wopi'

let alice: SendingServer
beforeAll(async () => {
  alice = await startSendingServer()
})
afterAll(() => alice.close())

/** `ocm-gateway check --online`, and what it says about the office. */
async function check(upstream: string, { wopi = {}, path = '/office/' }: { wopi?: object; path?: string } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'check-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'gateway.yaml')
  const server = { publicUrl: 'http://apps.localhost:8080', insecureLoopback: true, signingKeyFile: './key.json' }
  const publicUrl = `http://office.localhost:8080${path}`
  const webapps = [{ name: 'office', kind: 'wopi', publicUrl, upstream, wopi }]
  writeFileSync(file, JSON.stringify({ server, ocmServers: [{ domain: alice.domain }], webapps }))
  const { code, stdout, stderr } = await runCommand(['check', '--config', file, '--online'])
  expect(stderr).toBe('')
  return { code, lines: stdout.split('\n').filter((line) => line.startsWith('webapps[0]')) }
}

async function editorAt(options: EditorOptions = {}): Promise<string> {
  const editor = await startEditor({ base: '/office/', ...options })
  onTestFinished(() => editor.close())
  return editor.url
}

/** An editor that answers what it is told to. */
async function scripted(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/office/`
}

const DISCOVERY = `<wopi-discovery><net-zone name="external-http"><app name="writer"><action name="edit" ext="odt" urlsrc="http://collabora/office/browser/0/cool.html?"/></app></net-zone></wopi-discovery>`

describe('check --online of an office', () => {
  it('prints what the editor is, and the alias group to set', async () => {
    expect(await check(await editorAt())).toEqual({
      code: 0,
      lines: [
        'webapps[0].upstream: ok, it answers 200',
        `${OFFICE}.discoveryUrl: ok, collabora editor, opens 5 types of file`,
        'webapps[0].publicUrl: ok, the editor’s pages are below /office/',
        `${OFFICE}.proof: ok, the editor signs what it asks`,
        `${OFFICE}.discoveryUrl: ok, it is Test editor`,
        `${OFFICE}.hostUrl: ok, Collabora must allow this WOPI host, and no other: aliasgroup1=http://office.localhost:8080`,
      ],
    })
  })

  it.each([
    ['https://wopi.example.org/', 'aliasgroup1=https://wopi.example.org:443'],
    ['http://gateway:8080/internal/', 'aliasgroup1=http://gateway:8080'],
  ])('names the host and port of hostUrl %s', async (hostUrl, expected) => {
    const { code, lines } = await check(await editorAt(), { wopi: { hostUrl } })
    expect(code).toBe(0)
    expect(lines.at(-1)).toBe(`${OFFICE}.hostUrl: ok, Collabora must allow this WOPI host, and no other: ${expected}`)
  })

  it('says in passthrough that the senders’ hosts are to be allowed', async () => {
    const { lines } = await check(await editorAt(), { wopi: { mode: 'passthrough' } })
    expect(lines.at(-1)).toBe(
      `${OFFICE}.hostUrl: ok, Collabora must allow the WOPI host of each sender: one alias group for each`,
    )
  })

  it('tells no alias group to set where there is none to set', async () => {
    const upstream = await editorAt({ flavour: 'onlyoffice', base: '/' })
    const { code, lines } = await check(upstream, { path: '/' })
    expect(code).toBe(0)
    expect(lines).toContain(`${OFFICE}.discoveryUrl: ok, onlyoffice editor, opens 5 types of file`)
    expect(lines.join('\n')).not.toContain('aliasgroup')
  })

  it('says where an editor is not where its pages have to be, and which keys are missing', async () => {
    const editor = await editorAt({ signs: false })
    const wopi = { proof: 'require', discoveryUrl: `${editor}hosting/discovery` }
    const { code, lines } = await check(editor.replace('/office/', '/docs/'), { path: '/docs/', wopi })
    expect(code).toBe(1)
    expect(lines).toContainEqual(
      expect.stringMatching(/^webapps\[0\]\.publicUrl: the editor’s page \S+ is not below \/docs\/ \(set .+ to \/docs/),
    )
    expect(lines).toContain(
      `${OFFICE}.proof: the editor publishes no proof key (Collabora: coolconfig generate-proof-key)`,
    )
  })

  it.each<[string, RequestListener, RegExp]>([
    ['that answers 503', (_req, res) => void res.writeHead(503).end(), /discovery answered 503 \(must be the editor’s/],
    [
      'that answers a page',
      (_req, res) => void res.end('<!doctype html><title>Welcome</title>'),
      /: .+ \(must be the editor’s WOPI discovery\)$/,
    ],
    [
      'that knows no file types',
      (_req, res) => void res.end('<wopi-discovery/>'),
      /the answer names no action: it is no WOPI discovery \(must be the editor’s WOPI discovery\)$/,
    ],
    ['that hangs up', (_req, res) => void res.destroy(), /\(must be the editor’s WOPI discovery\)$/],
  ])('names the discovery of an editor %s', async (_what, listener, message) => {
    const upstream = await scripted((req, res) => (req.url?.includes('discovery') ? listener(req, res) : res.end()))
    const { code, lines } = await check(upstream)
    expect(code).toBe(1)
    const [finding = '', ...more] = lines.filter((line) => line.startsWith(OFFICE))
    expect(finding).toMatch(
      /^webapps\[0\]\.wopi\.discoveryUrl: http:\/\/127\.0\.0\.1:\d+\/office\/hosting\/discovery: /,
    )
    expect(finding).toMatch(message)
    expect(more).toEqual([])
  })

  it.each<[string, RequestListener]>([
    ['nothing', (_req, res) => void res.writeHead(404).end()],
    ['no JSON', (_req, res) => void res.end('<html>')],
  ])('is not content with capabilities that are %s', async (_what, listener) => {
    const upstream = await scripted((req, res) => {
      if (req.url?.includes('discovery')) res.end(DISCOVERY)
      else if (req.url?.includes('capabilities')) listener(req, res)
      else res.end()
    })
    const { code, lines } = await check(upstream)
    expect(code).toBe(1)
    expect(lines).toContainEqual(
      expect.stringMatching(
        /^webapps\[0\]\.wopi\.discoveryUrl: http.+\/hosting\/capabilities: .+ \(must answer JSON\)$/,
      ),
    )
    expect(lines.at(-1)).toContain('aliasgroup1=')
  })

  it('prints one line for what a hostile editor says in several', async () => {
    const upstream = await scripted((req, res) => {
      if (req.url?.includes('discovery')) res.end(DISCOVERY)
      else res.end('{"productName":"Evil\\nwebapps[0].upstream: ok, it is fine\\u001b[2J"}')
    })
    const { lines } = await check(upstream)
    expect(lines.filter((line) => line.includes('it is fine'))).toEqual([expect.stringContaining('it is Evil')])
    expect(lines.join('')).not.toContain('\u001b')
  })
})
