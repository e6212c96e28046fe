import { readFileSync } from 'node:fs'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { installJupyterHub } from '../../src/demo/jupyterhub/install.ts'
import { keepSecret } from '../flow/leaks.ts'
import { until } from '../flow/until.ts'
import { launchChromium, shot, shotInBothSchemes } from './chromium.ts'
import {
  bytesOf,
  type ContentScene,
  contents,
  FILE_BYTES,
  FILES,
  many,
  SLOWLY,
  save,
  startContentScene,
  UNICODE,
} from './content-scene.ts'
import { STEP_MS } from './scene.ts'

const report = (line: string) => void process.stdout.write(`${line}\n`)

/** What a process takes of memory, looked at while something goes on. */
function watchMemory(pid: number) {
  const now = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
  const seen = [now()]
  const timer = setInterval(() => seen.push(now()), 100)
  const [first = 0] = seen
  return {
    stop(): string {
      clearInterval(timer)
      return `memory ${first.toFixed()} MiB at first, ${Math.max(...seen).toFixed()} MiB at most, ${now().toFixed()} MiB at last`
    },
    /** How much more than at first it took at most. */
    risenMiB: () => Math.max(...seen) - first,
  }
}

let scene: ContentScene

beforeAll(async () => {
  const installation = await installJupyterHub({ report })
  scene = await startContentScene({ name: 'jupyterhub-content-life', installation, report })
})
afterAll(() => scene?.close())

describe('changes that could not be saved', () => {
  const userIsGone = (user: string) => async () => (await scene.askHub(`/users/${user}`)).status === 404
  const serverIsStopped = (user: string) => async () => {
    const answer = await scene.askHub(`/users/${user}`)
    const { servers = {} } = (await answer.json()) as { servers?: object }
    return answer.status === 200 && Object.keys(servers).length === 0
  }

  it('keep their home when everybody has left, and go with the next launch', async () => {
    const share = await scene.share({ resource: 'Kept' })
    const bob = await scene.open(share)
    share.bearers.clear()
    await save(bob, 'read me.txt', 'Kept.')
    await until('it waits', async () => (await scene.told(bob)).state === 'waiting', SLOWLY)
    expect((await bob.request('.ocm/logout', { method: 'POST' })).status).toBe(204)
    await scene.gateway.event('content.kept', ({ name }) => name === bob.user)
    await until('only the server is gone', serverIsStopped(bob.user), SLOWLY)
    const again = await scene.open(share)
    await scene.untilSaved(again)
    expect(scene.there('Kept', 'read me.txt')).toBe('Kept.')
    expect((await again.request('.ocm/logout', { method: 'POST' })).status).toBe(204)
    await until('nothing is kept any more', userIsGone(bob.user), SLOWLY)
  })

  it('are dropped with a share that is revoked, and the log says so', async () => {
    const share = await scene.share({ resource: 'Revoked' })
    const bob = await scene.open(share)
    share.bearers.clear()
    await save(bob, 'read me.txt', 'Lost.')
    await scene.alice.unshare(share.providerId, { notify: false })
    await scene.gateway.event('content.dropped', ({ name, reason }) => name === bob.user && reason === 'revoked')
    await until('the hub user is gone', userIsGone(bob.user), SLOWLY)
    expect(scene.there('Revoked', 'read me.txt')).toBe('Hello.\n')
  })

  it('are saved by the next gateway when one is killed', async () => {
    const share = await scene.share({ resource: 'Killed' })
    const bob = await scene.open(share)
    scene.alice.faults.webdav = { status: 503 }
    await save(bob, 'read me.txt', 'Survived.')
    await scene.gateway.kill()
    delete scene.alice.faults.webdav
    await scene.gateway.start()
    await scene.untilSaved(bob)
    expect(scene.there('Killed', 'read me.txt')).toBe('Survived.')
  })
})

describe('many files', () => {
  it(`${FILES} of ${FILE_BYTES / 2 ** 20} MiB come with flat memory, and go on after the gateway was killed in the middle`, async () => {
    const share = await scene.share({ resource: 'Many' })
    const hits = scene.alice.hits.webdav
    const launched = scene.open(share).catch(() => undefined)
    await until('files come', () => scene.alice.hits.webdav > hits + FILES / 3, SLOWLY)
    await scene.gateway.kill()
    await launched
    await scene.gateway.start()
    const before = scene.alice.hits.webdav
    const rss = watchMemory(scene.gateway.pid)
    const began = performance.now()
    const bob = await scene.open(share)
    const seconds = (performance.now() - began) / 1000
    const asked = scene.alice.hits.webdav - before
    report(`the rest came in ${seconds.toFixed(1)} s with ${asked} requests; ${rss.stop()}`)
    expect(asked).toBeLessThan(FILES)
    for (const [path, content] of Object.entries(many).filter((_, nth) => nth % 17 === 0)) {
      expect((await bytesOf(bob, path)).equals(content), path).toBe(true)
    }
    expect(await scene.told(bob)).toMatchObject({ state: 'saved', leftOut: { total: 0 } })
    expect(rss.risenMiB()).toBeLessThan((asked * FILE_BYTES) / 2 / 2 ** 20)
  })
})

describe('people', () => {
  let browser: Browser

  beforeAll(async () => {
    browser = await launchChromium()
  })
  afterAll(() => browser?.close())

  /** Opens a share as a cloud does in a tab of its own. */
  async function visit(share: Awaited<ReturnType<ContentScene['share']>>, suffix = ''): Promise<Page> {
    const token = keepSecret(await scene.alice.mintToken({ share }))
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
    context.setDefaultTimeout(STEP_MS)
    onTestFinished(() => context.close())
    const page = await context.newPage()
    const action = `${scene.gateway.origin}/jupyter/.ocm/open${suffix}`
    await page.setContent(
      `<form method="post" action="${action}"><input type="hidden" name="access_token" value="${token}"></form>`,
    )
    await page.evaluate('document.forms[0].submit()')
    return page
  }

  it('see the files come, and have what they save in JupyterLab in the other cloud', async () => {
    scene.alice.faults.webdav = { delaySeconds: 0.3 }
    const page = await visit(await scene.share({ resource: 'Lab' }), '/Analysis.ipynb')
    await page.getByText(/Fetching the files: [1-9]/).waitFor()
    await page.getByText(/^part \d\/file/).waitFor()
    await shotInBothSchemes(page, 'jupyterhub-content-progress')
    const value = async () => Number(await page.evaluate('document.querySelector("progress")?.value ?? 100'))
    const seen = await value()
    await expect.poll(value, { timeout: STEP_MS }).toBeGreaterThan(seen)
    delete scene.alice.faults.webdav

    await page.getByText('Python 3 (ipykernel) | Idle').waitFor()
    await page.locator('.jp-CodeCell .cm-content').first().click()
    await page.keyboard.press('Control+a')
    await page.keyboard.insertText('print("saved" + " back")')
    await page.keyboard.press('Shift+Enter')
    await expect
      .poll(() => page.locator('.jp-OutputArea-output').allTextContents(), { timeout: STEP_MS })
      .toEqual(['saved back\n'])
    await page.keyboard.press('Control+s')
    await until('it is saved there', () => scene.there('Lab', 'Analysis.ipynb')?.includes('saved back\\n'), SLOWLY)
    await shot(page, 'jupyterhub-content-lab')
    await page.goto(`${page.url().split('/lab')[0]}/.ocm/status`)
    await page.getByRole('heading', { name: 'Everything is saved' }).waitFor()
    await shotInBothSchemes(page, 'jupyterhub-content-saved')
  })

  it('read what was left out before they go on', async () => {
    const page = await visit(await scene.share({ resource: 'Odd' }))
    await page.getByRole('heading', { name: 'Some files were left out' }).waitFor()
    await shotInBothSchemes(page, 'jupyterhub-content-left-out')
    await page.getByRole('button', { name: 'Open Odd' }).click()
    await page.getByText('empty.bin').waitFor()
  })

  it('are told that the other cloud does not answer, and try again', async () => {
    scene.alice.faults.webdav = { status: 503 }
    const page = await visit(await scene.share({ resource: 'Three' }))
    await page.getByText(`${scene.alice.domain}, where the shared files are, does not answer.`).waitFor()
    await shotInBothSchemes(page, 'jupyterhub-content-unreachable')
    delete scene.alice.faults.webdav
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.waitForURL('**/lab**')
  })

  it('see a conflict, and what waits', async () => {
    const share = await scene.share({ resource: 'Seen' })
    const page = await visit(share)
    await page.waitForURL('**/lab**')
    const scope = `${page.url().split('/lab')[0]}/`
    const saveIn = (path: string, content: string) =>
      page.evaluate(
        async ([url, body]) => (await fetch(String(url), { method: 'PUT', body: String(body) })).status,
        [`${scope}${contents(path)}`, JSON.stringify({ type: 'file', format: 'text', content })],
      )
    scene.change('Seen', 'read me.txt', 'Alice’s.')
    expect(await saveIn('read me.txt', 'Bob’s.')).toBe(200)
    await page.goto(`${scope}.ocm/status`)
    await page.getByRole('heading', { name: 'Saved, with a conflict' }).waitFor()
    await page.getByText('yours is kept as read me (conflict').waitFor()
    await shotInBothSchemes(page, 'jupyterhub-content-conflict')
    share.bearers.clear()
    expect(await saveIn(UNICODE, 'late')).toBe(200)
    await page.getByRole('heading', { name: 'Changes wait to be saved' }).waitFor()
    await page.getByText('open the share again').first().waitFor()
    await shotInBothSchemes(page, 'jupyterhub-content-waiting')
  })
})
