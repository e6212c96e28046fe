import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort } from '../../src/demo/listen.ts'
import { startSendingServer } from '../../src/demo/sending-server.ts'
import { messageOf, startServer, startWorker } from './processes.ts'
import { APP_BASE, type Headers } from './workloads.ts'

/** One way to the app. */
export interface Subject {
  readonly name: SubjectName
  readonly pid: number
  readonly port: number
  readonly headers: Headers
}

export type SubjectName = 'app' | 'gateway' | 'configurable-http-proxy' | 'nginx'

const NGINX = '/usr/sbin/nginx'
const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

/** What to start, and how. */
export interface Wish {
  readonly names: readonly SubjectName[]
  /** For the gateway’s own Node, such as `--cpu-prof`. */
  readonly gatewayFlags?: readonly string[]
}

/** Starts the app and the ways to it. What is not installed is left out, and said. */
export async function startSubjects({ names, gatewayFlags = [] }: Wish, say: (line: string) => void) {
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-bench-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const app = opened.use(startWorker(new URL('./upstream-app.ts', import.meta.url)))
  const appPort = await messageOf<number>(app.worker)
  const subjects: Subject[] = []
  for (const name of names) {
    const start = STARTS[name]
    if (start === undefined) subjects.push({ name, pid: app.pid, port: appPort, headers: { Host: 'app.localhost' } })
    else if (name === 'nginx' && !existsSync(NGINX)) say(`nginx is not installed (${NGINX}): left out`)
    else subjects.push({ name, ...opened.use(await start(appPort, folder, gatewayFlags)) })
  }
  return { subjects, resources: opened.move() }
}

type Start = (
  appPort: number,
  folder: string,
  gatewayFlags: readonly string[],
) => Promise<Omit<Subject, 'name'> & AsyncDisposable>

const STARTS: Partial<Record<SubjectName, Start>> = {
  gateway: startGatewayProcess,
  'configurable-http-proxy': startConfigurableHttpProxy,
  nginx: startNginx,
}

/** What is deployed: without its types, since Node keeps the stripper in memory and pays for that in every collection. */
export async function build(): Promise<string> {
  const folder = root('.cache/bench')
  await promisify(execFile)(root('node_modules/.bin/tsc'), ['-p', root('tsconfig.build.json'), '--outDir', folder])
  return join(folder, 'cli.js')
}

/** The gateway as it is deployed, but for http on loopback, and one share that was provisioned and launched as usual. */
async function startGatewayProcess(appPort: number, folder: string, flags: readonly string[]) {
  const port = await freePort()
  const url = `http://apps.localhost:${port}`
  const alice = await startSendingServer({ contacts: ['bob@bob.localhost'] })
  try {
    const config = join(folder, 'gateway.yaml')
    await writeFile(config, gatewayConfig({ port, url, appPort, senderDomain: alice.domain }))
    const running = await startServer(process.execPath, [...flags, await build(), 'serve', '--config', config], {
      port,
    })
    alice.pair({ integrationApi: `${url}/ocm`, launchUrl: `${url}${APP_BASE}.ocm/open`, appName: 'Bench' })
    const share = await alice.share({ notify: false })
    const cookie = await launch(port, share.uri, await alice.mintToken({ share }))
    const headers = { Host: `apps.localhost:${port}`, Cookie: cookie }
    return { port, headers, pid: running.pid, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() }
  } finally {
    await alice.close()
  }
}

function gatewayConfig({
  port,
  url,
  appPort,
  senderDomain,
}: {
  port: number
  url: string
  appPort: number
  senderDomain: string
}): string {
  return `server:
  publicUrl: ${url}
  listen: 127.0.0.1:${port}
  adminListen: 127.0.0.1:0
  signingKeyFile: ./signing-key.json
  insecureLoopback: true
store: sqlite:./gateway.db
ocmServers:
  - domain: ${senderDomain}
    modes: [provisioned]
webapps:
  - name: bench
    kind: generic
    publicUrl: ${url}${APP_BASE}
    upstream: http://127.0.0.1:${appPort}${APP_BASE}
`
}

/** @returns the session’s cookie, as a browser sends it back */
async function launch(port: number, launchUrl: string, token: string): Promise<string> {
  const { host, pathname } = new URL(launchUrl)
  const headers = { host, 'content-type': 'application/x-www-form-urlencoded' }
  const sent = request({ port, headers, path: pathname, method: 'POST' })
  sent.end(new URLSearchParams({ access_token: token }).toString())
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const [cookie] = answer.headers['set-cookie'] ?? []
  const body = await text(answer)
  if (cookie === undefined) throw new Error(`the launch was refused: ${answer.statusCode} ${body}`)
  return cookie.split(';')[0] ?? ''
}

/** As JupyterHub runs it, but for the log, which would cost it time. It keeps connections to the app alive by itself. */
async function startConfigurableHttpProxy(appPort: number) {
  const [port, apiPort] = [await freePort(), await freePort()]
  const args = [
    fileURLToPath(import.meta.resolve('configurable-http-proxy/bin/configurable-http-proxy')),
    ...['--ip', '127.0.0.1', '--port', `${port}`, '--api-ip', '127.0.0.1', '--api-port', `${apiPort}`],
    ...['--default-target', `http://127.0.0.1:${appPort}`, '--log-level', 'error', '--keep-alive-timeout', '65000'],
  ]
  const running = await startServer(process.execPath, args, { port, env: { CONFIGPROXY_AUTH_TOKEN: 'bench' } })
  return { ...running, port, headers: { Host: `proxy.localhost:${port}` } }
}

/** One worker, connections to the app kept alive, no log. */
async function startNginx(appPort: number, folder: string) {
  const port = await freePort()
  const prefix = join(folder, 'nginx')
  await mkdir(prefix)
  await writeFile(join(prefix, 'nginx.conf'), nginxConfig(port, appPort))
  const args = ['-p', prefix, '-c', 'nginx.conf', '-e', 'error.log', '-g', 'daemon off;']
  return { ...(await startServer(NGINX, args, { port })), port, headers: { Host: `proxy.localhost:${port}` } }
}

function nginxConfig(port: number, appPort: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`)
  return `worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 1024; }
http {
  access_log off;
  ${temporary.join(' ')}
  keepalive_requests 1000000000;
  tcp_nodelay on;
  map $http_upgrade $connection_header { default upgrade; '' ''; }
  upstream app { server 127.0.0.1:${appPort}; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_header;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_buffers 16 16k;
    }
  }
}
`
}
