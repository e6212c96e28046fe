import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SentShare } from '../../src/demo/sent-share.ts'
import { keepSecret } from '../flow/leaks.ts'
import { shotInBothSchemes } from './chromium.ts'
import { type NotesScene, startNotesScene } from './notes-scene.ts'

const NARROW = { width: 320, height: 640 }

let scene: NotesScene

beforeAll(async () => {
  scene = await startNotesScene('pages')
})
afterAll(() => scene?.close())

/** Shared with Bob, but not announced to his cloud: what he does with it is up to the test. */
const newShare = () => scene.alice.share({ notify: false })

/** What any Receiving Server makes the browser do, with or without saying where to come back to. */
async function launch(page: Page, share: SentShare, returnUri?: string): Promise<void> {
  const token = keepSecret(await scene.alice.mintToken({ share }))
  const fields = { access_token: token, ...(returnUri && { expired_session_redirect_uri: returnUri }) }
  const inputs = Object.entries(fields).map(([name, value]) => `<input name="${name}" value="${value}">`)
  await page.setContent(`<form method="post" action="${scene.publicUrl}.ocm/open">${inputs.join('')}</form>`)
  await page.evaluate('document.forms[0].submit()')
}

/** The page stands out at a glance, in light and dark, and fits a narrow frame. */
async function expectPage(page: Page, heading: string, name: string): Promise<void> {
  await page.getByRole('heading', { name: heading }).waitFor()
  await shotInBothSchemes(page, name)
  await page.setViewportSize(NARROW)
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(NARROW.width)
}

describe('a page of ours', () => {
  it.each([
    { at: '.ocm/open', heading: 'Open this from your cloud', name: 'launch-visited' },
    { at: 'anything', heading: 'There is no open share in this tab', name: 'no-session' },
    { at: '.ocm/expired?reason=expired', heading: 'Your time with this share is over', name: 'expired' },
    { at: '.ocm/expired?reason=idle', heading: 'You were away for a while', name: 'idle' },
    { at: '.ocm/expired?reason=logout', heading: 'You are logged out', name: 'logged-out' },
    { at: '.ocm/expired?reason=replaced', heading: 'This share was changed', name: 'replaced' },
    { at: '../', heading: 'There is nothing at this address', name: 'not-found' },
  ])('at $at says: $heading', async ({ at, heading, name }) => {
    const page = await scene.newBrowser()
    await page.goto(new URL(at, scene.publicUrl).href)
    await expectPage(page, heading, `page-${name}`)
  })

  it('tells somebody with a token that is none to open the share again', async () => {
    const page = await scene.newBrowser()
    await page.setContent(
      `<form method="post" action="${scene.publicUrl}.ocm/open"><input name="access_token" value="x">`,
    )
    await page.evaluate('document.forms[0].submit()')
    await expectPage(page, 'Please open the share again', 'page-refused-token')
  })

  it('tells somebody whose share is revoked while it is open, without their doing anything', async () => {
    const page = await scene.newBrowser()
    const share = await newShare()
    await launch(page, share)
    await page.getByText('Live: everybody sees what you type').waitFor()
    await scene.alice.unshare(share.providerId, { notify: false })
    await expectPage(page, 'This share was revoked', 'page-revoked')
  })

  it('leads back to the Receiving Server once a token has told which one that is', async () => {
    const page = await scene.newBrowser()
    const share = await newShare()
    await scene.alice.unshare(share.providerId, { notify: false })
    await launch(page, share, `${scene.bob.url}/`)
    await expectPage(page, 'This share has ended', 'page-refused-share')
    await page.getByRole('link', { name: 'Back to your cloud' }).click()
    await page.waitForURL(`${scene.bob.url}/`)
  })

  it('says that the application does not answer', async () => {
    const page = await scene.newBrowser()
    await launch(page, await newShare())
    await page.getByText('Live: everybody sees what you type').waitFor()
    await scene.stopApp()
    await page.reload()
    await expectPage(page, 'The application does not answer', 'page-upstream-down')
  })
})
