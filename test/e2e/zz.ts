import { spawn } from 'node:child_process'
import { launchChromium, shot } from '/work/main/test/e2e/chromium.ts'
const t0 = Date.now(); const say = (...a: unknown[]) => console.log(((Date.now() - t0) / 1000).toFixed(1), ...a)
const child = spawn('npm', ['run', 'demo', '--', '--app', 'jupyterhub'], { cwd: '/work/main', detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
let out = ''; child.stdout.on('data', (d) => { out += d; process.stdout.write(d) })
while (!/Ctrl-C/.test(out)) await new Promise((r) => setTimeout(r, 200))
say('ready')
const url = (name: string) => new RegExp(`${name}\\s+(http\\S+)`).exec(out)![1]!
const b = await launchChromium()
try {
  const a = await (await b.newContext()).newPage(), p = await (await b.newContext()).newPage()
  await a.goto(url('Alice’s cloud')); await p.goto(url('Bob’s cloud'))
  await a.locator('summary').first().click(); await a.getByRole('button', { name: 'Share', exact: true }).click(); say('shared')
  await p.getByRole('link', { name: 'Open' }).click()
  const f = p.frameLocator('iframe')
  await f.locator('.jp-CodeCell .cm-content').first().waitFor({ timeout: 60000 }); say('notebook open', p.frames()[1]!.url())
  await f.locator('.jp-Notebook-ExecutionIndicator[data-status=idle]').waitFor({ timeout: 60000 })
  await f.locator('.jp-CodeCell .cm-content').first().click(); await p.keyboard.press('Shift+Enter')
  await f.locator('.jp-OutputArea-output').first().waitFor({ timeout: 30000 }).catch(async (e) => { await shot(p, 'x-fail'); throw e }); say('output', await f.locator('.jp-OutputArea-output').first().textContent())
  await shot(p, 'x-demo')
  const t = Date.now(); await a.getByRole('button', { name: 'Stop sharing' }).click(); await a.getByText('Nothing yet').waitFor(); say('unshared in', Date.now() - t)
  await p.waitForTimeout(3000); await shot(p, 'x-demo-cut')
} catch (e) { console.log(e) } finally { await b.close() }
const t = Date.now(); process.kill(-child.pid!, 'SIGINT'); await new Promise((r) => child.on('close', (c) => { say('exit', c); r(0) })); say('stopped in', Date.now() - t)
