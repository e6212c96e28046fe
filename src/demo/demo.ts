import { createWriteStream } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { appKinds } from '../apps/registry.ts'
import { loadConfig } from '../config/load.ts'
import type { GatewayConfig } from '../config/schema.ts'
import { createLog } from '../core/events.ts'
import { startGateway } from '../gateway.ts'
import { installJupyterHub, startJupyterHub } from './jupyterhub/rig.ts'
import { freePort } from './listen.ts'
import { startNotesApp } from './notes-app.ts'
import { startReceivingServer } from './receiving-server.ts'
import { NOTEBOOKS, NOTES, type Resource } from './resources.ts'
import { startSendingServer } from './sending-server.ts'

const PORTS = { gateway: 8100, alice: 8101, bob: 8102 }

type Print = (line: string) => void

export interface Demo {
  readonly aliceUrl: string
  readonly bobUrl: string
  readonly gatewayUrl: string
  close(): Promise<void>
}

/** An app of the demo: running, and described as an entry of `webapps`. */
interface DemoApp {
  /** Its path on the gateway, without slashes. */
  readonly path: string
  readonly displayName: string
  readonly resources: readonly Resource[]
  /** YAML. */
  readonly webapp: string
  /** What is there to see once a share is open. */
  readonly hint: string
  close(): Promise<void>
}

interface Place {
  readonly gatewayUrl: string
  readonly folder: string
  readonly print: Print
}

const APPS: Record<'notes' | 'jupyterhub', (place: Place) => Promise<DemoApp>> = {
  notes: startNotes,
  jupyterhub: startNotebooks,
}

/**
 * Two clouds, an app, and this gateway between them, in one process on loopback. Everything they keep is in a temporary
 * folder, which `close` removes.
 */
export async function runDemo({ app: name, print }: { app: keyof typeof APPS; print: Print }): Promise<Demo> {
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-demo-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const port = await freePort(PORTS.gateway)
  const gatewayUrl = `http://apps.localhost:${port}`
  const app = await APPS[name]({ gatewayUrl, folder, print })
  opened.defer(() => app.close())
  const bob = await startReceivingServer({ port: await freePort(PORTS.bob) })
  opened.defer(() => bob.close())
  const alicePort = await freePort(PORTS.alice)
  const alice = await startSendingServer({ port: alicePort, contacts: [bob.address], resources: app.resources })
  opened.defer(() => alice.close())

  const logFile = join(folder, 'gateway.log')
  const config = await configure(
    folder,
    configText({ port, gatewayUrl, senderDomain: alice.domain, webapp: app.webapp }),
  )
  const log = createLog({ level: 'info', destination: createWriteStream(logFile) })
  const gateway = await startGateway(config, { log })
  opened.defer(() => gateway.close())
  const launchUrl = `${gatewayUrl}/${app.path}/.ocm/open`
  alice.pair({ integrationApi: `${gatewayUrl}/ocm`, launchUrl, appName: app.displayName })

  for (const line of guide({ aliceUrl: alice.url, bobUrl: bob.url, gatewayUrl, logFile, app })) print(line)
  const owned = opened.move()
  return { aliceUrl: alice.url, bobUrl: bob.url, gatewayUrl, close: () => owned.disposeAsync() }
}

async function startNotes({ gatewayUrl }: Place): Promise<DemoApp> {
  const texts = Object.fromEntries(NOTES.map(({ name, files }) => [name, String(files[''] ?? '')]))
  const { url, close } = await startNotesApp({ gatewayUrl, audience: 'notes', texts })
  return {
    path: 'notes',
    displayName: 'Notes',
    resources: NOTES,
    hint: 'Open it in several windows, and type: everybody sees it at once.',
    webapp: `
  - name: notes
    kind: generic
    publicUrl: ${gatewayUrl}/notes/
    upstream: ${url}
    generic: { stripPath: true, isolation: path, readOnly: { webSockets: true } }`,
    close,
  }
}

/**
 * Lands in the notebook view: JupyterLab 4 reloads for ever in the iframe of another site where the browser blocks
 * third-party storage, as Chrome does in incognito windows.
 */
async function startNotebooks({ gatewayUrl, folder, print }: Place): Promise<DemoApp> {
  const { bin } = await installJupyterHub({ report: print })
  const hub = await startJupyterHub({
    bin,
    folder: join(folder, 'hub'),
    basePath: '/jupyterhub/',
    report: print,
  })
  await writeFile(join(folder, 'hub-token'), hub.token, { mode: 0o600 })
  return {
    path: 'jupyterhub',
    displayName: 'Jupyter',
    resources: NOTEBOOKS,
    hint: 'A server of Bob’s own starts for it; run the cells with Shift+Enter. What he saves is in Alice’s cloud a moment later.',
    webapp: `
  - name: notebooks
    kind: jupyterhub
    publicUrl: ${gatewayUrl}/jupyterhub/
    upstream: ${hub.url}
    jupyterhub:
      apiUrl: ${hub.apiUrl}
      apiTokenFile: ./hub-token
      landing: notebook`,
    close: hub.stop,
  }
}

interface Settings {
  readonly port: number
  readonly gatewayUrl: string
  readonly senderDomain: string
  readonly webapp: string
}

function configText({ port, gatewayUrl, senderDomain, webapp }: Settings): string {
  return `server:
  publicUrl: ${gatewayUrl}
  listen: 127.0.0.1:${port}
  adminListen: 127.0.0.1:0
  signingKeyFile: ./signing-key.json
  insecureLoopback: true
store: sqlite:./gateway.db
ocmServers:
  - domain: ${senderDomain}
    modes: [provisioned]
webapps:${webapp}
`
}

/** A configuration file like any other, read like any other. */
async function configure(folder: string, text: string): Promise<GatewayConfig> {
  const file = join(folder, 'gateway.yaml')
  await writeFile(file, text)
  const loaded = loadConfig(file, { kinds: appKinds, env: {} })
  if ('config' in loaded) return loaded.config
  throw new Error(loaded.problems.map(({ path, message }) => `${path}: ${message}`).join('\n'))
}

interface Addresses {
  readonly aliceUrl: string
  readonly bobUrl: string
  readonly gatewayUrl: string
  readonly logFile: string
  readonly app: DemoApp
}

function guide({ aliceUrl, bobUrl, gatewayUrl, logFile, app: { resources, displayName, hint } }: Addresses): string[] {
  const shared = resources[0]?.name
  return [
    '',
    `  Alice’s cloud   ${aliceUrl}`,
    `  Bob’s cloud     ${bobUrl}`,
    `  The gateway     ${gatewayUrl}   (its log: ${logFile})`,
    '',
    '  1. Open both clouds side by side, in Chrome, Chromium or Edge.',
    `  2. Alice: share “${shared}” with Bob. It appears in Bob’s list by itself.`,
    `  3. Bob: open it. ${displayName} comes through the gateway, inside Bob’s cloud. ${hint}`,
    '  4. Alice: unshare it. Bob’s window is cut off at once.',
    '',
    '  Ctrl-C ends the demo.',
  ]
}
