import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { installJupyterHub } from '../../src/demo/jupyterhub/install.ts'
import { keepSecret } from '../flow/leaks.ts'
import { launchChromium, shot } from './chromium.ts'
import { outputs, runCell, untilKernelIsIdle } from './lab.ts'
import { type NotebookScene, startNotebookScene } from './notebooks.ts'
import { STEP_MS } from './scene.ts'

const report = (line: string) => void process.stdout.write(`${line}\n`)
const patiently = { timeout: STEP_MS }

let scene: NotebookScene
let browser: Browser

beforeAll(async () => {
  const installation = await installJupyterHub({ report })
  scene = await startNotebookScene({ name: 'jupyterhub-frames', installation, report })
  browser = await launchChromium()
})
afterAll(async () => {
  await browser?.close()
  await scene?.close()
})

/** A page of Bob’s cloud with a frame for each launch, opened side by side. */
async function openSideBySide(launchesOf: (bob: string) => Promise<string[]>): Promise<Page> {
  let page = ''
  const cloud = createServer((_req, res) => void res.setHeader('content-type', 'text/html').end(page))
  await new Promise<void>((listening) => cloud.listen(0, '127.0.0.1', listening))
  const bob = `bob.localhost:${(cloud.address() as AddressInfo).port}`
  const tokens = await launchesOf(`bob@${bob}`)
  const frames = tokens.map((_, index) => `<iframe name="f${index}" style="width:49%;height:95vh"></iframe>`)
  const forms = tokens.map(
    (token, index) =>
      `<form method="post" target="f${index}" action="${scene.gateway.origin}/jupyter/.ocm/open"><input type="hidden" name="access_token" value="${token}"></form>`,
  )
  page = `<!doctype html><title>Bob’s cloud</title>${frames.join('')}${forms.join('')}<script>for (const form of document.forms) form.submit()</script>`
  const context = await browser.newContext({ viewport: { width: 1600, height: 900 } })
  context.setDefaultTimeout(STEP_MS)
  onTestFinished(async () => {
    await context.close()
    cloud.closeAllConnections()
    cloud.close()
  })
  const opened = await context.newPage()
  await opened.goto(`http://${bob}/`)
  return opened
}

it('two clouds’ shares of the same id are open side by side; revoking one leaves the other running', async () => {
  const ids: string[] = []
  const page = await openSideBySide(async (shareWith) =>
    Promise.all(
      [scene.alice, scene.carol].map(async (cloud) => {
        const share = await cloud.share({ shareWith, notify: false })
        keepSecret(share.sharedSecret)
        ids.push(share.providerId)
        return keepSecret(await cloud.mintToken({ share }))
      }),
    ),
  )
  expect(ids).toEqual(['1', '1'])
  const [first, second] = ['f0', 'f1'].map((name) => page.frameLocator(`iframe[name=${name}]`))
  if (first === undefined || second === undefined) return expect.unreachable()
  await Promise.all([untilKernelIsIdle(first), untilKernelIsIdle(second)])
  await runCell(page, first, 'mine = "Alice"; print(mine)')
  await expect.poll(() => outputs(first), patiently).toEqual(['Alice\n'])
  await runCell(page, second, 'print("mine" in globals())')
  await expect.poll(() => outputs(second), patiently).toEqual(['False\n'])
  await shot(page, 'jupyterhub-side-by-side')

  await scene.alice.unshare('1', { notify: false })
  await first.getByText('| Disconnected').waitFor()
  await runCell(page, second, 'print("still here")')
  await expect.poll(() => outputs(second), patiently).toEqual(['still here\n'])
  await shot(page, 'jupyterhub-side-by-side-one-revoked')
  await scene.carol.unshare('1', { notify: false })
})

it('a script in a notebook sees no cookie of ours, and reaches neither the hub nor a share that it does not know', async () => {
  const page = await openSideBySide(async (shareWith) => {
    const share = await scene.alice.share({ shareWith, notify: false })
    keepSecret(share.sharedSecret)
    return [keepSecret(await scene.alice.mintToken({ share }))]
  })
  const lab = page.frameLocator('iframe')
  await untilKernelIsIdle(lab)
  const script = `
const other = '/jupyter/user/ocm-00000000000000000000/api/contents'
const statuses = await Promise.all(['/jupyter/hub/api/users', '/jupyter/hub/home', other, '/.well-known/jwks.json'].map(async (url) => (await fetch(url)).status))
element.textContent = JSON.stringify({ cookie: document.cookie, statuses })`
  await runCell(
    page,
    lab,
    `from IPython.display import Javascript\nJavascript(${JSON.stringify(`(async () => {${script}})()`)})`,
  )
  await expect
    .poll(async () => (await outputs(lab)).join(''), patiently)
    .toMatch(/\{"cookie":"[^"]*","statuses":\[401,401,401,200\]\}/)
  expect((await outputs(lab)).join('')).not.toContain('ocm-notebooks')
})
