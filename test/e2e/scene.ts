import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BrowserContextOptions, FrameLocator, Page, Response, WebSocket } from 'playwright-core'
import { expect, onTestFinished } from 'vitest'
import { startReceivingServer } from '../../src/demo/receiving-server.ts'
import type { Resource } from '../../src/demo/resources.ts'
import { startSendingServer } from '../../src/demo/sending-server.ts'
import { type Address, startGatewayProcess } from '../flow/gateway-process.ts'
import { ARTIFACTS, launchChromium } from './chromium.ts'

/** For one step of a person, on a busy machine. */
export const STEP_MS = 60_000

export interface SceneOptions {
  /** Begins the names of the artefacts. */
  readonly name: string
  /** What Alice has to share. */
  readonly resources: readonly Resource[]
  readonly appName: string
  /** Over what the gateway’s `server` has anyway. */
  readonly server?: Readonly<Record<string, unknown>>
  /** The one webapp. */
  readonly webapp: (at: Address) => { readonly publicUrl: string } & Readonly<Record<string, unknown>>
}

export type Scene = Awaited<ReturnType<typeof startScene>>

/** Alice’s cloud, Bob’s cloud and the gateway as a process, on three sites; and a Chromium to look at them with. */
export async function startScene({ name, resources, appName, server = {}, webapp }: SceneOptions) {
  await using opened = new AsyncDisposableStack()
  const bob = opened.adopt(await startReceivingServer(), (server) => server.close())
  const contacts = [bob.address]
  const alice = opened.adopt(await startSendingServer({ contacts, resources }), (server) => server.close())
  const gateway = opened.adopt(
    await startGatewayProcess((at) => ({
      server,
      ocmServers: [{ domain: alice.domain, modes: ['provisioned'] }],
      webapps: [webapp(at)],
    })),
    async (process) => {
      await process.stop()
      await writeFile(join(ARTIFACTS, `${name}-gateway.log`), process.output.stdout)
    },
  )
  const { publicUrl } = webapp(gateway)
  alice.pair({ integrationApi: `${gateway.origin}/ocm`, launchUrl: `${publicUrl}.ocm/open`, appName })
  const browser = opened.adopt(await launchChromium(), (chromium) => chromium.close())
  const owned = opened.move()

  /** A browser of somebody’s own: cookies are not shared with anyone. */
  async function newBrowser(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
    context.setDefaultTimeout(STEP_MS)
    onTestFinished(() => context.close())
    return context.newPage()
  }

  return {
    alice,
    bob,
    gateway,
    publicUrl,
    newBrowser,

    /** Alice looks at her files. */
    async visitAlice(): Promise<Page> {
      const page = await newBrowser()
      await page.goto(alice.url)
      return page
    },

    /** Bob looks at what is shared with him. */
    async visitBob(options?: BrowserContextOptions): Promise<Page> {
      const page = await newBrowser(options)
      await page.goto(bob.url)
      return page
    },

    close: () => owned.disposeAsync(),
  }
}

/** By the buttons of Alice’s page. */
export async function share(page: Page, name: string, permission: 'View' | 'Read' | 'Edit' = 'Edit'): Promise<void> {
  const card = page.locator('.card', { hasText: name }).filter({ has: page.locator('summary') })
  await card.locator('summary').click()
  await card.getByText(permission, { exact: true }).click()
  await card.getByRole('button', { name: 'Share', exact: true }).click()
  await unshareButton(page, name).waitFor()
}

/** By the button of Alice’s page, which is a new one then. @returns when her server had done it, as `performance.now()` */
export async function unshare(page: Page, name: string): Promise<number> {
  const [answeredAt] = await Promise.all([
    page.waitForResponse((response) => response.url().endsWith('/unshare')).then(whenSeenOther),
    page.waitForEvent('load'),
    unshareButton(page, name).click(),
  ])
  return answeredAt
}

function whenSeenOther(response: Response): number {
  expect(response.status()).toBe(303)
  return performance.now()
}

function unshareButton(page: Page, name: string) {
  return page.getByRole('button', { name: `Stop sharing ${name}` })
}

/** By the link of Bob’s page, which gets it by itself. @returns the iframe with the app */
export async function open(page: Page, name: string): Promise<FrameLocator> {
  await page.locator('.card', { hasText: name }).getByRole('link', { name: 'Open' }).click()
  return page.frameLocator('iframe')
}

/** When the browser saw a WebSocket closed, as `performance.now()`. */
export function whenClosed(socket: WebSocket): Promise<number> {
  return new Promise((closed) => socket.once('close', () => closed(performance.now())))
}
