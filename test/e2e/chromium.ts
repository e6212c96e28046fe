import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'

/** What a run leaves to look at; ignored by git. */
export const ARTIFACTS = 'test-artifacts'

/**
 * Quiet and without a sandbox (CI runs as root); third-party cookies blocked, as people's browsers block them.
 *
 * `--disable-features` replaces playwright's longer list, which turns storage partitioning off: without it, a frame that
 * may not have third-party cookies would have no `localStorage` either, which no real browser does to an app.
 */
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--test-third-party-cookie-phaseout',
  '--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,MediaRouter,OptimizationHints,PaintHolding',
]

/** A headless Chromium; `CHROMIUM_PATH` names another than Debian's. The caller closes it. */
export async function launchChromium(): Promise<Browser> {
  const executablePath = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'
  if (!existsSync(executablePath)) {
    throw new Error(`no Chromium at ${executablePath}: apt-get install chromium, or set CHROMIUM_PATH`)
  }
  return chromium.launch({ executablePath, args: ARGS })
}

/** Saves what the page looks like now. */
export async function shot(page: Page, name: string): Promise<void> {
  await mkdir(ARTIFACTS, { recursive: true })
  await page.screenshot({ path: join(ARTIFACTS, `${name}.png`) })
}

/** Saves what the page looks like to who prefers light, and to who prefers dark. */
export async function shotInBothSchemes(page: Page, name: string): Promise<void> {
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme })
    await shot(page, `${name}-${colorScheme}`)
  }
}
