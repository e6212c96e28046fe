import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { JupyterHubInstallation } from '../../src/demo/jupyterhub/install.ts'
import { startJupyterHub } from '../../src/demo/jupyterhub/rig.ts'
import { NOTEBOOKS, type Resource } from '../../src/demo/resources.ts'
import { type SendingServer, type ShareWish, startSendingServer } from '../../src/demo/sending-server.ts'
import { startGatewayProcess } from '../flow/gateway-process.ts'
import { BOB, launch, openWebSocket, pairWith, type Sent, send, stream } from '../flow/harness.ts'
import { keepSecret } from '../flow/leaks.ts'
import { until } from '../flow/until.ts'
import { ARTIFACTS } from './chromium.ts'

export const NOTEBOOK = 'Ocean temperatures.ipynb'

export type NotebookScene = Awaited<ReturnType<typeof startNotebookScene>>

interface NotebookSceneOptions {
  readonly name: string
  readonly installation: JupyterHubInstallation
  readonly report: (line: string) => void
  readonly resources?: readonly Resource[]
  /** Over the options of the webapp’s kind. */
  readonly jupyterhub?: Readonly<Record<string, unknown>>
}

/** A real hub, a gateway in front of it as a process, and two clouds that share notebooks; people are programs here. */
export async function startNotebookScene(options: NotebookSceneOptions) {
  const { name, installation, report, resources = NOTEBOOKS, jupyterhub = {} } = options
  await using opened = new AsyncDisposableStack()
  await mkdir(ARTIFACTS, { recursive: true })
  const folder = await mkdtemp(join(tmpdir(), `e2e-${name}-`))
  opened.defer(async () => {
    await copyFile(join(folder, 'hub.log'), join(ARTIFACTS, `${name}-hub.log`))
    await rm(folder, { recursive: true })
  })
  const hub = await startJupyterHub({ bin: installation.bin, folder, basePath: '/jupyter/', report })
  opened.defer(() => hub.stop())
  const tokenFile = join(folder, 'hub-token')
  await writeFile(tokenFile, keepSecret(hub.token))
  const alice = opened.adopt(await startSendingServer({ resources }), (server) => server.close())
  const carol = opened.adopt(
    await startSendingServer({ host: 'carol.localhost', user: 'carol', resources }),
    (server) => server.close(),
  )
  const gateway = opened.adopt(
    await startGatewayProcess(({ origin }) => ({
      ocmServers: [alice, carol].map(({ domain }) => ({ domain, modes: ['provisioned'] })),
      webapps: [
        {
          name: 'notebooks',
          kind: 'jupyterhub',
          publicUrl: `${origin}/jupyter/`,
          upstream: hub.url,
          jupyterhub: { apiUrl: hub.apiUrl, apiTokenFile: tokenFile, ...jupyterhub },
        },
      ],
    })),
    async (process) => {
      if (process.alive) await process.stop()
      await writeFile(join(ARTIFACTS, `${name}-gateway.log`), process.output.stdout)
    },
  )
  for (const server of [alice, carol]) pairWith(server, gateway, '/jupyter/.ocm/open')
  const owned = opened.move()

  async function share(wish: ShareWish = {}, from: SendingServer = alice) {
    const made = await from.share({ shareWith: BOB, notify: false, ...wish })
    keepSecret(made.sharedSecret)
    return made
  }

  /** Follows the starting page to its end. */
  async function untilStarted(scope: string, cookie: string): Promise<string> {
    const events = await stream(gateway, `${scope}.ocm/starting/events`, { cookie })
    const text = Buffer.concat(await Array.fromAsync(events as AsyncIterable<Buffer>)).toString('utf8')
    const [, data] = /event: ready\ndata: (.*)/.exec(text) ?? []
    if (data === undefined) throw new Error(`the server did not start: ${events.statusCode} ${text}`)
    return (JSON.parse(data) as { location: string }).location
  }

  /** A launch in a new browser, waited for until the notebook is there. */
  async function open(made: Awaited<ReturnType<typeof share>>, from: SendingServer = alice, suffix = '') {
    const token = keepSecret(await from.mintToken({ share: made }))
    const launched = await launch(gateway, token, { at: `/jupyter/.ocm/open${suffix}` })
    if (launched.status !== 303) throw new Error(`refused: ${launched.status} ${launched.response.body}`)
    const scope = /^\/jupyter\/user\/[^/]+\//.exec(launched.location)?.[0] ?? ''
    const starting = launched.location.endsWith('/.ocm/starting')
    const landing = starting ? await untilStarted(scope, launched.cookie) : launched.location
    return visitor({ scope, landing, cookie: launched.cookie })
  }

  /** What somebody’s page can do. */
  function visitor({ scope, landing, cookie }: { scope: string; landing: string; cookie: string }) {
    const request = (path: string, sent: Sent = {}) =>
      send(gateway, path.startsWith('/') ? path : scope + path, {
        ...sent,
        headers: { cookie, origin: gateway.origin, ...sent.headers },
      })
    return {
      scope,
      landing,
      cookie,
      /** The hub user whose server it is. */
      user: scope.split('/').at(-2) ?? '',
      request,
      json: (path: string, method: string, body: object) =>
        request(path, { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      kernelSocket: (kernel: string) => openWebSocket(gateway, `${scope}api/kernels/${kernel}/channels`, { cookie }),
    }
  }

  return {
    hub,
    alice,
    carol,
    gateway,
    share,
    open,
    visitor,
    untilStarted,
    /** What the hub itself says. */
    async askHub(path: string): Promise<Response> {
      return fetch(`${hub.apiUrl}${path}`, { headers: { authorization: `token ${hub.token}` } })
    },
    close: () => owned.disposeAsync(),
  }
}

export type Visitor = Awaited<ReturnType<NotebookScene['open']>>

/** A kernel of somebody’s own, reached through the gateway; ended with the test. */
export async function startKernel({ json, kernelSocket }: Visitor) {
  const started = await json('api/kernels', 'POST', { name: 'python3' })
  if (started.status !== 201) throw new Error(`no kernel: ${started.status} ${started.body}`)
  const handshake = await kernelSocket(String(started.json().id))
  const { socket, status, closed } = handshake
  if (status !== 101) throw new Error(`no WebSocket to the kernel: ${status}`)
  onTestFinished(() => socket.terminate())
  const heard: { readonly parent: string; readonly type: string; readonly content: Record<string, unknown> }[] = []
  socket.on('message', (data) => {
    const message = JSON.parse(String(data))
    heard.push({ parent: message.parent_header?.msg_id, type: message.msg_type, content: message.content })
  })
  let last = 0

  return {
    closed,
    /** Runs code; what it printed, or the error it raised. */
    async run(code: string, seconds = 60): Promise<string> {
      last += 1
      const id = `test-${last}`
      const header = { msg_id: id, msg_type: 'execute_request', session: 'test', username: 'test', version: '5.3' }
      const content = { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false }
      socket.send(JSON.stringify({ header, parent_header: {}, metadata: {}, content, channel: 'shell', buffers: [] }))
      const mine = () => heard.filter(({ parent }) => parent === id)
      await until(
        'the cell has run',
        () =>
          mine().some(({ type, content: { execution_state } }) => type === 'status' && execution_state === 'idle') &&
          mine().some(({ type }) => type === 'execute_reply'),
        seconds,
      )
      return mine()
        .map(({ content: { text, ename, evalue } }) => text ?? (ename ? `${ename}: ${evalue}` : ''))
        .join('')
    },
  }
}
