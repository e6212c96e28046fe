import { copyFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FrameLocator, Page, Request, WebSocket } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installJupyterHub, type RunningJupyterHub, startJupyterHub } from '../../src/demo/jupyterhub/rig.ts'
import { NOTEBOOKS } from '../../src/demo/resources.ts'
import { keepSecret } from '../flow/leaks.ts'
import { ARTIFACTS, shot, shotInBothSchemes } from './chromium.ts'
import { open, type Scene, STEP_MS, share, startScene, unshare, whenClosed } from './scene.ts'

const NOTEBOOK = 'Ocean temperatures.ipynb'

const patiently = { timeout: STEP_MS }
const report = (line: string) => void process.stdout.write(`${line}\n`)

let folder: string
let hub: RunningJupyterHub
let scene: Scene

beforeAll(async () => {
  const { bin, versions } = await installJupyterHub({ report })
  report(`with ${JSON.stringify(versions)}`)
  folder = await mkdtemp(join(tmpdir(), 'e2e-jupyterhub-'))
  // The hook that plants it makes starts fail where homes cannot be made.
  const notebook = JSON.parse(String(NOTEBOOKS[0]?.files['']))
  hub = await startJupyterHub({ bin, folder, basePath: '/jupyter/', report, notebook })
  const tokenFile = join(folder, 'hub-token')
  await writeFile(tokenFile, keepSecret(hub.token))
  scene = await startScene({
    name: 'jupyterhub',
    resources: NOTEBOOKS,
    appName: 'Jupyter',
    // A start takes longer than any request of ours may.
    server: { limits: { requestTimeout: '1s' } },
    webapp: ({ origin }) => ({
      name: 'notebooks',
      kind: 'jupyterhub',
      publicUrl: `${origin}/jupyter/`,
      upstream: hub.url,
      jupyterhub: { apiUrl: hub.apiUrl, apiTokenFile: tokenFile },
    }),
  })
})
afterAll(async () => {
  await scene?.close()
  await hub?.stop()
  if (!folder) return
  await copyFile(join(folder, 'hub.log'), join(ARTIFACTS, 'jupyterhub-hub.log'))
  await rm(folder, { recursive: true })
})

/** What the hub itself says about a user. */
async function statusOfUser(name: string): Promise<number> {
  const { status } = await fetch(`${hub.apiUrl}/users/${name}`, { headers: { authorization: `token ${hub.token}` } })
  return status
}

/** The hub user whose server a page shows, by its address. */
function hubUserIn(page: Page): string {
  const urls = page.frames().map((frame) => frame.url())
  return /\/user\/(ocm-[0-9a-f]{20})\//.exec(urls.join('\n'))?.[1] ?? expect.fail(`no hub user in ${urls}`)
}

/** Every WebSocket that a page will open to a kernel. */
function watchKernelSockets(page: Page): WebSocket[] {
  const sockets: WebSocket[] = []
  page.on('websocket', (socket) => /\/api\/kernels\/.+\/channels/.test(socket.url()) && sockets.push(socket))
  return sockets
}

async function untilKernelIsIdle(lab: FrameLocator): Promise<void> {
  await lab.getByText('Python 3 (ipykernel) | Idle').waitFor()
}

async function runCell(page: Page, lab: FrameLocator, code: string): Promise<void> {
  await lab.locator('.jp-CodeCell .cm-content').first().click()
  await page.keyboard.press('Control+a')
  await page.keyboard.type(code)
  await page.keyboard.press('Shift+Enter')
}

describe('a notebook that Alice shares with Bob, in an iframe of his cloud', () => {
  it('runs on a server of its own, and all of it is over within a second of the unsharing', async () => {
    const alice = await scene.visitAlice()
    await share(alice, NOTEBOOK)
    await shot(alice, 'jupyterhub-1-alice-shares')
    const bob = await scene.visitBob()
    await shot(bob, 'jupyterhub-2-bob-sees-it')
    const kernelSockets = watchKernelSockets(bob)
    const followings: Request[] = []
    bob.on('request', (request) => request.url().endsWith('/.ocm/starting/events') && followings.push(request))

    const frame = await open(bob, NOTEBOOK)
    await frame.getByRole('heading', { name: `Opening ${NOTEBOOK}` }).waitFor()
    expect(await frame.locator('body').evaluate('document.hasStorageAccess()'), 'third-party cookies').toBe(false)
    await frame
      .getByRole('status')
      .getByText(/server/i)
      .waitFor()
    await shotInBothSchemes(bob, 'jupyterhub-3-progress')
    await untilKernelIsIdle(frame)
    expect(followings).toHaveLength(1)
    await shot(bob, 'jupyterhub-4-lab')
    await runCell(bob, frame, 'print(6*7)')
    await expect.poll(() => frame.locator('.jp-OutputArea-output').allTextContents(), patiently).toEqual(['42\n'])
    await shot(bob, 'jupyterhub-5-cell-run')

    const user = hubUserIn(bob)
    expect(await statusOfUser(user)).toBe(200)
    const kernel = kernelSockets.find((socket) => !socket.isClosed()) ?? expect.fail('no WebSocket to the kernel')
    const closed = whenClosed(kernel)
    const answeredAt = await unshare(alice, NOTEBOOK)
    const lasted = (await closed) - answeredAt
    report(`the kernel’s WebSocket was closed ${lasted.toFixed()} ms after the unsharing was answered`)
    expect(lasted).toBeLessThan(1000)
    await shot(alice, 'jupyterhub-6-alice-unshared')
    await frame.getByText('| Disconnected').waitFor()
    await shot(bob, 'jupyterhub-7-cut')
    await frame.getByRole('button', { name: 'Ok', exact: true }).click()
    await bob.keyboard.press('Control+s')
    await frame.getByText('Its owner has stopped sharing it with you').waitFor()
    await shot(bob, 'jupyterhub-8-lab-says-why')
    await bob.frames()[1]?.evaluate('location.reload()')
    await frame.getByText('It is no longer shared with you.').waitFor()
    await shot(bob, 'jupyterhub-9-cloud-says-why')
    await expect.poll(() => statusOfUser(user), patiently).toBe(404)
  })

  it('says why its server does not start, and starts it on another try', async () => {
    const homes = join(folder, 'homes')
    await rename(homes, `${homes} away`)
    await writeFile(homes, 'where homes should be')
    const alice = await scene.visitAlice()
    await share(alice, NOTEBOOK)
    const bob = await scene.visitBob()
    const frame = await open(bob, NOTEBOOK)
    await frame.getByRole('heading', { name: 'The application did not start' }).waitFor()
    await frame.getByText('The notebook server did not start: ').waitFor()
    const requestId = await frame.locator('footer code').textContent()
    await scene.gateway.event('request.refused', (event) => event.requestId === requestId)
    await shotInBothSchemes(bob, 'starting-failed')

    await rm(homes)
    await rename(`${homes} away`, homes)
    await frame.getByRole('button', { name: 'Try again' }).click()
    await untilKernelIsIdle(frame)
    await unshare(alice, NOTEBOOK)
  })

  it('is not started for somebody who lost it while waiting: the page goes where the reason is told', async () => {
    const alice = await scene.visitAlice()
    await share(alice, NOTEBOOK)
    const bob = await scene.visitBob()
    const frame = await open(bob, NOTEBOOK)
    await frame.getByRole('heading', { name: `Opening ${NOTEBOOK}` }).waitFor()
    const user = hubUserIn(bob)
    await unshare(alice, NOTEBOOK)
    await frame.getByText('It is no longer shared with you.').waitFor()
    await expect.poll(() => statusOfUser(user), patiently).toBe(404)
  })

  it('opens a second tab from inside the frame without a session, and says where to go instead', async () => {
    const alice = await scene.visitAlice()
    await share(alice, NOTEBOOK)
    const bob = await scene.visitBob()
    const frame = await open(bob, NOTEBOOK)
    await untilKernelIsIdle(frame)
    const opened = bob.waitForEvent('popup')
    await frame.getByRole('button', { name: 'Notebook', exact: true }).click()
    const popup = await opened
    await popup.getByRole('heading', { name: 'There is no open share in this tab' }).waitFor()
    await shotInBothSchemes(popup, 'popup-without-session')
    await unshare(alice, NOTEBOOK)
  })

  it('is shown rendered, and has no kernel, where it may only be viewed', async () => {
    const alice = await scene.visitAlice()
    await share(alice, NOTEBOOK, 'View')
    const bob = await scene.visitBob()
    const kernelSockets = watchKernelSockets(bob)
    const frame = await open(bob, NOTEBOOK)
    await frame.getByText('max(anomaly, key=anomaly.get)').waitFor()
    await shot(bob, 'jupyterhub-view-only')
    await bob.frames()[1]?.evaluate('location.href = "../../lab"')
    await frame.getByText('This share does not include the permission to read.').waitFor()
    await shotInBothSchemes(bob, 'permission-missing')
    expect(kernelSockets).toEqual([])
    const user = hubUserIn(bob)
    await unshare(alice, NOTEBOOK)
    await expect.poll(() => statusOfUser(user), patiently).toBe(404)
  })
})
