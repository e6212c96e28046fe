import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { shot } from './chromium.ts'
import { type NotesScene, startNotesScene } from './notes-scene.ts'
import { open, share, unshare, whenClosed } from './scene.ts'

const NOTE = 'Field notes.md'

let scene: NotesScene

beforeAll(async () => {
  scene = await startNotesScene('notes')
})
afterAll(() => scene?.close())

describe('a note that Alice shares with Bob, in an iframe of his cloud', () => {
  it('knows him, takes what he types, and is cut at the unsharing: then the page itself says why', async () => {
    const alice = await scene.visitAlice()
    await share(alice, NOTE)
    const bob = await scene.visitBob()
    const connected = bob.waitForEvent('websocket')
    const frame = await open(bob, NOTE)
    const note = frame.getByRole('textbox', { name: NOTE })
    await frame.getByText(`You are ${scene.bob.address}`).waitFor()
    await frame.getByText('Live: everybody sees what you type').waitFor()
    await note.fill('Bob was here.')
    await shot(bob, 'notes-1-open')
    expect(await readElsewhere()).toBe('Bob was here.')

    const closed = whenClosed(await connected)
    const answeredAt = await unshare(alice, NOTE)
    expect((await closed) - answeredAt).toBeLessThan(1000)
    await frame.getByText('It is no longer shared with you.').waitFor()
    await shot(bob, 'notes-2-cloud-says-why')
  })
})

/** What the note says to Bob in another browser. */
async function readElsewhere(): Promise<string> {
  const page = await scene.visitBob()
  const frame = await open(page, NOTE)
  await frame.getByText('Live: everybody sees what you type').waitFor()
  return frame.getByRole('textbox', { name: NOTE }).inputValue()
}
