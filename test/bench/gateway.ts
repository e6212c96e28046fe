import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { Agent, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort } from '../../src/demo/listen.ts'
import { type SentShare, startSendingServer } from '../../src/demo/sending-server.ts'
import { startServer } from './processes.ts'
import { APP_BASE, type Headers } from './workloads.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

/** What is deployed: without its types, since Node keeps the stripper in memory and pays for that in every collection. */
export async function build(): Promise<string> {
  return join(await compileOnce('-p', root('tsconfig.build.json')), 'cli.js')
}

/** A module of the bench that must cost what it would cost deployed. It imports nothing of ours. @returns its path */
export async function compileModule(name: string): Promise<string> {
  const options = ['--ignoreConfig', '--target', 'es2024', '--module', 'nodenext', '--types', 'node', '--skipLibCheck']
  return join(await compileOnce(...options, root(`test/bench/${name}.ts`)), `${name}.js`)
}

const compiled = new Map<string, Promise<string>>()

/** Once per run. @returns the folder */
function compileOnce(...args: string[]): Promise<string> {
  const folder = compiled.get(args.join(' ')) ?? compile(args)
  compiled.set(args.join(' '), folder)
  return folder
}

async function compile(args: readonly string[]): Promise<string> {
  const folder = root('.cache/bench')
  await promisify(execFile)(root('node_modules/.bin/tsc'), [...args, '--outDir', folder]).catch(
    ({ stdout, message }) => {
      throw new Error(`tsc ${args.join(' ')}:\n${stdout || message}`)
    },
  )
  return folder
}

/** What the image starts Node with. */
export async function flagsOfImage(): Promise<string[]> {
  const [, entry = '[]'] = /^ENTRYPOINT (.*)$/m.exec(await readFile(root('Dockerfile'), 'utf8')) ?? []
  return (JSON.parse(entry) as string[]).filter((word) => word.startsWith('--'))
}

export type SendingServer = Awaited<ReturnType<typeof startSendingServer>>

interface GatewayWish {
  readonly appPort: number
  /** Over the webapp’s settings; default: a generic app. */
  readonly webapp?: Readonly<Record<string, unknown>>
  /** For its configuration, key and database. */
  readonly folder: string
  /** Default: SQLite in the folder. */
  readonly store?: string
  /** Default: a new one. */
  readonly alice?: SendingServer
  readonly workers?: number
  /** For its own Node, such as `--cpu-prof`. */
  readonly flags?: readonly string[]
}

/** A cloud that knows Bob. */
export const startAlice = () => startSendingServer({ contacts: ['bob@bob.localhost'] })

/** The gateway as it is deployed, but for http on loopback and limits that a bench would reach, paired with Alice’s cloud. */
export async function startGateway(wish: GatewayWish) {
  const { appPort, webapp = {}, folder, store = 'sqlite:./gateway.db', workers, flags = [] } = wish
  await mkdir(folder, { recursive: true })
  await using opened = new AsyncDisposableStack()
  const port = await freePort()
  const url = `http://apps.localhost:${port}`
  const alice = wish.alice ?? opened.adopt(await startAlice(), (server) => server.close())
  const limits = { requestsPerMinute: 10_000_000, shares: 10_000_000, sessions: 10_000_000 }
  const document = {
    server: {
      publicUrl: url,
      listen: `127.0.0.1:${port}`,
      adminListen: '127.0.0.1:0',
      signingKeyFile: './signing-key.json',
      insecureLoopback: true,
      limits: { connectionsPerAddress: 1_000_000 },
      ...(workers === undefined ? {} : { workers }),
    },
    store,
    ocmServers: [{ domain: alice.domain, modes: ['provisioned'], limits }],
    webapps: [
      {
        name: 'bench',
        kind: 'generic',
        publicUrl: `${url}${APP_BASE}`,
        upstream: `http://127.0.0.1:${appPort}${APP_BASE}`,
        ...webapp,
      },
    ],
  }
  const config = join(folder, 'gateway.yaml')
  // JSON is YAML.
  await writeFile(config, JSON.stringify(document))
  const args = [...(await flagsOfImage()), ...flags, await build(), 'serve', '--config', config]
  const { pid } = opened.use(await startServer(process.execPath, args, { port }))
  alice.pair({ integrationApi: `${url}/ocm`, launchUrl: `${url}${APP_BASE}.ocm/open`, appName: 'Bench' })
  const agent = opened.adopt(new Agent({ keepAlive: true }), (each) => each.destroy())
  const running = opened.move()
  const prepare = () => alice.share({ notify: false })
  /** @returns what a request of that session has, and the path where the browser is sent */
  const launch = async ({ uri }: SentShare, token: string): Promise<{ headers: Headers; location: string }> => {
    const { cookie, location } = await postLaunch(agent, { port, uri, token })
    return { headers: { Host: `apps.localhost:${port}`, Cookie: cookie }, location }
  }
  return {
    pid,
    port,
    alice,
    /** A new share, which nobody has opened. */
    prepare,
    launch,
    /** A new share, opened in a new browser. */
    async open() {
      const share = await prepare()
      return { providerId: share.providerId, ...(await launch(share, await alice.mintToken({ share }))) }
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>

/** @returns the session’s cookie, as a browser sends it back @throws {Error} when the launch is refused */
async function postLaunch(agent: Agent, { port, uri, token }: { port: number; uri: string; token: string }) {
  const { host, pathname: path } = new URL(uri)
  const headers = { host, 'content-type': 'application/x-www-form-urlencoded' }
  const sent = request({ agent, port, headers, path, method: 'POST' })
  sent.end(new URLSearchParams({ access_token: token }).toString())
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const [cookie] = answer.headers['set-cookie'] ?? []
  const body = await text(answer)
  if (cookie === undefined) throw new Error(`the launch was refused: ${answer.statusCode} ${body}`)
  return { cookie: cookie.split(';')[0] ?? '', location: answer.headers.location ?? '' }
}
