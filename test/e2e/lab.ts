import type { FrameLocator, Page } from 'playwright-core'

export async function untilKernelIsIdle(lab: FrameLocator): Promise<void> {
  await lab.getByText('Python 3 (ipykernel) | Idle').waitFor()
}

/** Replaces the first cell’s code and runs it. */
export async function runCell(page: Page, lab: FrameLocator, code: string): Promise<void> {
  await lab.locator('.jp-CodeCell .cm-content').first().click()
  await page.keyboard.press('Control+a')
  await page.keyboard.insertText(code)
  await page.keyboard.press('Shift+Enter')
}

/** What the cells of a notebook have put out. */
export function outputs(lab: FrameLocator): Promise<string[]> {
  return lab.locator('.jp-OutputArea-output').allTextContents()
}
