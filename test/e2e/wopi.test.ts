import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Resource } from '../../src/demo/resources.ts'
import type { Address } from '../flow/harness.ts'
import { type Editor, startEditor, wopiClient } from '../flow/wopi-editor.ts'
import { shot } from './chromium.ts'
import { open, type Scene, share, startScene, unshare, whenClosed } from './scene.ts'

const REPORT: Resource = {
  name: 'Report.odt',
  resourceType: 'file',
  mediaType: 'application/vnd.oasis.opendocument.text',
  description: 'A text',
  files: { '': 'first words' },
}

/** A page that knows its document by its own address, and talks to its editor over a WebSocket, as Collabora’s does. */
const PAGE = `<!doctype html>
<title>Editor</title>
<label>Text <textarea id="text"></textarea></label>
<button id="save">Save</button>
<p id="state">connecting</p>
<script>
const source = new URLSearchParams(location.search).get('WOPISrc')
const text = document.getElementById('text'), state = document.getElementById('state')
const socket = new WebSocket(location.origin.replace('http', 'ws') + '/office/cool/ws?WOPISrc=' + encodeURIComponent(source))
socket.onopen = () => socket.send('load')
socket.onclose = () => { state.textContent = 'closed' }
socket.onmessage = ({ data }) => {
  const [what, content] = JSON.parse(data)
  if (what === 'loaded') text.value = content
  state.textContent = what
}
document.getElementById('save').onclick = () => socket.send('save ' + text.value)
</script>`

let scene: Scene
let editor: Editor
let gateway: Address

/** The editor’s server does what its page wishes, at the WOPI host. */
async function obey(message: string, { pages }: Editor): Promise<string> {
  const page = pages.at(-1)
  if (page === undefined) throw new Error('no page was opened')
  const client = wopiClient(gateway, editor, page)
  if (message === 'load') return JSON.stringify(['loaded', await client.read()])
  const { LastModifiedTime } = await client.info()
  await client.lock('cool-lock1')
  const headers = { 'X-COOL-WOPI-Timestamp': String(LastModifiedTime), 'X-COOL-WOPI-IsAutosave': 'false' }
  const saved = await client.save(message.slice('save '.length), 'cool-lock1', headers)
  await client.unlock('cool-lock1')
  return JSON.stringify([saved.status === 200 ? 'saved' : `not saved: ${saved.status}`])
}

beforeAll(async () => {
  editor = await startEditor({ base: '/office/', page: PAGE, answer: obey })
  scene = await startScene({
    name: 'wopi',
    resources: [REPORT],
    appName: 'Office',
    webapp: ({ origin }) => ({
      name: 'office',
      kind: 'wopi',
      publicUrl: `${origin}/office/`,
      upstream: editor.url,
      wopi: { proof: 'require' },
    }),
  })
  gateway = scene.gateway
})
afterAll(async () => {
  await scene?.close()
  await editor?.close()
})

describe('a text that Alice shares with Bob, in an editor in an iframe of his cloud', () => {
  it('opens, is saved to her cloud, is seen by him elsewhere, and is cut when she unshares it', async () => {
    const alice = await scene.visitAlice()
    await share(alice, REPORT.name)
    const bob = await scene.visitBob()
    const connected = bob.waitForEvent('websocket')
    const frame = await open(bob, REPORT.name)
    const text = frame.getByRole('textbox', { name: 'Text' })
    await frame.getByText('loaded').waitFor()
    expect(await text.inputValue()).toBe('first words')
    await text.fill('Bob was here.')
    await frame.getByRole('button', { name: 'Save' }).click()
    await frame.getByText('saved').waitFor()
    await shot(bob, 'wopi-1-saved')
    expect(scene.alice.filesOf(REPORT)).toEqual({ '': 'Bob was here.' })
    expect(
      bob
        .frames()
        .map((each) => each.url())
        .join(),
    ).not.toContain('access_token')

    const elsewhere = await scene.visitBob()
    const other = await open(elsewhere, REPORT.name)
    await other.getByText('loaded').waitFor()
    expect(await other.getByRole('textbox', { name: 'Text' }).inputValue()).toBe('Bob was here.')

    const closed = whenClosed(await connected)
    const answeredAt = await unshare(alice, REPORT.name)
    expect((await closed) - answeredAt).toBeLessThan(1000)
    await frame.getByText('closed').waitFor()
    await other.getByText('closed').waitFor()
  })
})
