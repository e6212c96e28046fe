import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installJupyterHub } from '../../src/demo/jupyterhub/install.ts'
import { installDebianJupyterHub } from '../../src/demo/jupyterhub/install-debian.ts'
import type { LogEvent } from '../flow/gateway-process.ts'
import { launch, openWebSocket } from '../flow/harness.ts'
import { keepSecret } from '../flow/leaks.ts'
import { until } from '../flow/until.ts'
import { NOTEBOOK, type NotebookScene, startKernel, startNotebookScene } from './notebooks.ts'

const report = (line: string) => void process.stdout.write(`${line}\n`)
const SLOWLY = 60

/** The same programs of people on the newest hub and on the oldest. */
const HUBS = [
  { hub: 'JupyterHub 5 with JupyterLab 4', install: installJupyterHub, landing: 'lab' },
  { hub: 'Debian’s JupyterHub with Notebook', install: installDebianJupyterHub, landing: 'notebook' },
]

describe.each(HUBS)('$hub', ({ hub: title, install, landing }) => {
  let scene: NotebookScene

  beforeAll(async () => {
    const installation = await install({ report })
    report(`${title}: ${JSON.stringify(installation.versions)}`)
    const name = `jupyterhub-api-${installation.versions.jupyterlab === 'none' ? 'debian' : 'pypi'}`
    scene = await startNotebookScene({ name, installation, report, jupyterhub: { landing } })
  })
  afterAll(() => scene?.close())

  const userIsGone = (user: string) => async () => (await scene.askHub(`/users/${user}`)).status === 404

  it('runs the shared notebook, and all of it is over with the revocation', async () => {
    const share = await scene.share()
    const begun = performance.now()
    const bob = await scene.open(share)
    const total = (performance.now() - begun) / 1000
    const secondsOf = (event: string) => Number(scene.gateway.eventsNamed(event).at(-1)?.seconds)
    const [start, content] = [secondsOf('app.started'), secondsOf('content.brought')]
    const parts = { gateway: total - start, spawn: start - content, content }
    report(`${title}: from the launch to the landing ${total.toFixed(2)} s: ${JSON.stringify(parts)}`)
    expect((await bob.request(bob.landing)).status).toBe(200)
    expect((await bob.request(`api/contents/${encodeURIComponent(NOTEBOOK)}`)).json()).toMatchObject({
      type: 'notebook',
    })
    const kernel = await startKernel(bob)
    expect(await kernel.run('print(6*7)')).toBe('42\n')
    await scene.alice.unshare(share.providerId, { notify: false })
    await kernel.closed
    expect((await bob.request('api/contents')).status).toBe(401)
    await until('the hub user is gone', userIsGone(bob.user), SLOWLY)
  })

  it('brings a save back to the sender’s WebDAV', async () => {
    const share = await scene.share()
    const bob = await scene.open(share)
    const file = `api/contents/${encodeURIComponent(NOTEBOOK)}`
    const { content } = (await bob.request(file)).json() as { content: { cells: { source: string }[] } }
    const [first, ...rest] = content.cells
    const cells = [{ ...first, source: '# Written by Bob' }, ...rest]
    const saved = await bob.json(file, 'PUT', { type: 'notebook', format: 'json', content: { ...content, cells } })
    expect(saved.status).toBe(200)
    const filesOf = () => scene.alice.filesOf(share.resource)
    await until('Alice’s cloud has it', () => filesOf()['']?.includes('Written by Bob'), SLOWLY)
    await scene.alice.unshare(share.providerId, { notify: false })
  })

  it('does not bring a save back once the share was narrowed to reading', async () => {
    const share = await scene.share()
    const bob = await scene.open(share)
    const before = scene.alice.filesOf(share.resource)['']
    scene.alice.faults.webdav = { status: 503 }
    const file = `api/contents/${encodeURIComponent(NOTEBOOK)}`
    const saved = await bob.json(file, 'PUT', { type: 'file', format: 'text', content: '{"too": "late"}' })
    expect(saved.status).toBe(200)
    await scene.gateway.event('content.waiting')
    const notification = scene.alice.notification(share)
    const webapp = { ...notification.protocol.webapp, permissions: ['view', 'read'] }
    await scene.alice.provision({ ...notification, protocol: { ...notification.protocol, webapp } })
    delete scene.alice.faults.webdav
    const narrowed = (event: LogEvent) => event.message === 'the share may no longer be changed'
    await until('it is not saved', () => scene.gateway.eventsNamed('content.waiting').some(narrowed), SLOWLY)
    expect(scene.alice.filesOf(share.resource)['']).toBe(before)
    await scene.alice.unshare(share.providerId, { notify: false })
  })

  it('shows a view-only notebook rendered; every write, kernel, terminal and WebSocket is refused', async () => {
    const share = await scene.share({ permissions: ['view'] })
    const bob = await scene.open(share)
    const page = await bob.request(bob.landing)
    expect(page.status).toBe(200)
    expect(page.body.toString('utf8')).toContain('Ocean temperatures')
    const file = `api/contents/${encodeURIComponent(NOTEBOOK)}`
    const refused = await Promise.all([
      bob.request('lab'),
      bob.request('tree'),
      bob.request(file),
      bob.json(file, 'PUT', { type: 'file', format: 'text', content: 'x' }),
      bob.json(file, 'PATCH', { path: 'y.ipynb' }),
      bob.request(file, { method: 'DELETE' }),
      bob.json('api/contents', 'POST', { type: 'file' }),
      bob.json('api/kernels', 'POST', { name: 'python3' }),
      bob.json('api/sessions', 'POST', { path: NOTEBOOK, type: 'notebook', name: '', kernel: { name: 'python3' } }),
      bob.json('api/terminals', 'POST', {}),
      bob.request(`files/${encodeURIComponent(NOTEBOOK)}`),
    ])
    expect(refused.map(({ status }) => status)).toEqual(refused.map(() => 403))
    for (const target of ['api/kernels/x/channels', 'terminals/websocket/1', 'api/events/subscribe'])
      expect((await openWebSocket(scene.gateway, bob.scope + target, bob)).status, target).toBe(403)
    await scene.alice.unshare(share.providerId, { notify: false })
  })

  it('starts one server for twenty launches at once', async () => {
    const share = await scene.share()
    const launches = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const token = keepSecret(await scene.alice.mintToken({ share }))
        return launch(scene.gateway, token, { at: '/jupyter/.ocm/open' })
      }),
    )
    expect(launches.map(({ status }) => status)).toEqual(launches.map(() => 303))
    const scope = launches[0]?.location.replace('.ocm/starting', '') ?? ''
    const landings = await Promise.all(launches.map(({ cookie }) => scene.untilStarted(scope, cookie)))
    expect(new Set(landings).size).toBe(1)
    const user = scope.split('/').at(-2)
    const started = scene.gateway.eventsNamed('app.started').filter(({ name }) => name === user)
    expect(started).toHaveLength(1)
    await scene.alice.unshare(share.providerId, { notify: false })
    await until('the hub user is gone', userIsGone(user ?? ''), SLOWLY)
  })

  it('gives two clouds that chose the same id two servers; revoking one leaves the other running', async () => {
    const [ofAlice, ofCarol] = [await scene.share(), await scene.share({}, scene.carol)]
    const notSame = ofAlice.providerId !== ofCarol.providerId
    if (notSame)
      for (let id = Number(ofCarol.providerId); id < Number(ofAlice.providerId); id += 1)
        await scene.share({}, scene.carol)
    const same = scene.carol.shares().find(({ providerId }) => providerId === ofAlice.providerId)
    if (same === undefined) throw new Error('Carol’s cloud did not come to the same id')
    const [first, second] = [await scene.open(ofAlice), await scene.open(same, scene.carol)]
    expect(first.user).not.toBe(second.user)
    const kernels = [await startKernel(first), await startKernel(second)]
    expect(await kernels[0]?.run('whose = "Alice"')).toBe('')
    expect(await kernels[1]?.run('print("whose" in globals())')).toBe('False\n')
    expect((await first.request(`${second.scope}api/contents`)).status, 'the other’s server').toBe(401)
    await scene.alice.unshare(ofAlice.providerId, { notify: false })
    await kernels[0]?.closed
    expect(await kernels[1]?.run('print("still here")')).toBe('still here\n')
    await scene.carol.unshare(same.providerId, { notify: false })
  })

  it('gives a malicious notebook nothing: not the hub’s API, not another share’s server', async () => {
    const [mine, theirs] = [await scene.share(), await scene.share({}, scene.carol)]
    const [attacker, victim] = [await scene.open(mine), await scene.open(theirs, scene.carol)]
    const kernel = await startKernel(attacker)
    const attempts = [
      ['GET', `${scene.hub.apiUrl}/users`],
      ['GET', `${scene.hub.apiUrl}/users/${victim.user}`],
      ['POST', `${scene.hub.apiUrl}/users/eve`],
      ['POST', `${scene.hub.apiUrl}/users/${victim.user}/tokens`],
      ['DELETE', `${scene.hub.apiUrl}/users/${victim.user}/server`],
      ['GET', `${new URL(scene.hub.url).origin}${victim.scope}api/contents`],
      ['GET', `${scene.gateway.origin.replace('apps.localhost', '127.0.0.1')}${victim.scope}api/contents`],
    ]
    const code = `
import os, json, urllib.request, urllib.error
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args): return None
opener = urllib.request.build_opener(Stay)
found = []
for method, url in json.loads(${JSON.stringify(JSON.stringify(attempts))}):
    headers = {"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"], "Host": "${scene.gateway.host}" if "${scene.gateway.port}" in url else url.split("/")[2]}
    try:
        found.append(opener.open(urllib.request.Request(url, method=method, headers=headers, data=b"{}" if method == "POST" else None)).status)
    except urllib.error.HTTPError as error:
        found.append(error.code)
print(json.dumps(found))`
    const statuses = JSON.parse(await kernel.run(code)) as number[]
    report(`${title}: a malicious notebook was answered ${statuses}`)
    for (const [index, status] of statuses.entries())
      expect([302, 401, 403, 404, 503], `${attempts[index]}`).toContain(status)
    expect((await victim.request('api/contents')).status).toBe(200)
    await scene.alice.unshare(mine.providerId, { notify: false })
    await scene.carol.unshare(theirs.providerId, { notify: false })
  })

  it('takes a session through a restart of the hub: the person is led to the starting page, and gets a new server', async () => {
    const share = await scene.share()
    const bob = await scene.open(share)
    await scene.hub.restart()
    const navigation = { headers: { accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' } }
    const page = await bob.request(bob.landing, navigation)
    expect(page.header('location')).toBe(`${bob.scope}.ocm/starting`)
    await scene.untilStarted(bob.scope, bob.cookie)
    expect((await bob.request('api/contents')).status).toBe(200)
    await scene.alice.unshare(share.providerId, { notify: false })
    await until('the hub user is gone', userIsGone(bob.user), SLOWLY)
  })

  it('says while the hub is down that it does not answer, and opens once it is back', async () => {
    const share = await scene.share()
    await scene.hub.stop()
    const token = keepSecret(await scene.alice.mintToken({ share }))
    const launched = await launch(scene.gateway, token, { at: '/jupyter/.ocm/open' })
    expect(launched.location).toMatch(/\/\.ocm\/starting$/)
    const scope = launched.location.replace('.ocm/starting', '')
    await expect(scene.untilStarted(scope, launched.cookie)).rejects.toThrow(/does not answer/)
    await scene.hub.restart()
    await scene.untilStarted(scope, launched.cookie)
    await scene.alice.unshare(share.providerId, { notify: false })
  })
})
