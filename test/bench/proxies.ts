import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../src/demo/listen.ts'
import { compileModule, flagsOfImage } from './gateway.ts'
import { startServer } from './processes.ts'
import { findNginx, installCaddy, installHaproxy } from './tools.ts'
import { APP_BASE, type Headers } from './workloads.ts'

/** A server in front of the app, as the load generator needs to know it. */
export interface Way {
  readonly pid: number
  readonly port: number
  /** `Host`, and what else a request needs to pass. */
  readonly headers: Headers
  readonly version?: string
  /** The process of what it asks for every request, when there is one; its CPU time is counted apart. */
  readonly beside?: number
  /** Default: it serves them. */
  readonly webSockets?: false
}

/** Where a proxy may put its files, and what it leads to. */
export interface Place {
  readonly appPort: number
  readonly folder: string
  readonly gatewayFlags: readonly string[]
  /** Ends it all. */
  readonly opened: AsyncDisposableStack
}

/** Each proxy has one thread or one worker, as many connections as the load wants, and no log of requests. */
const CONNECTIONS_MAX = 9_500

const hostOf = (port: number) => ({ Host: `proxy.localhost:${port}` })

/** As JupyterHub runs it, with a route to the app, but for the log, which would cost it time. It keeps connections to the app alive by itself. */
export async function startConfigurableHttpProxy({ appPort, opened }: Place): Promise<Way> {
  const [port, apiPort] = [await freePort(), await freePort()]
  const command = fileURLToPath(import.meta.resolve('configurable-http-proxy/bin/configurable-http-proxy'))
  const manifest = JSON.parse(await readFile(join(command, '../../package.json'), 'utf8')) as { version: string }
  const args = [
    command,
    ...['--ip', '127.0.0.1', '--port', `${port}`, '--api-ip', '127.0.0.1', '--api-port', `${apiPort}`],
    ...['--log-level', 'error', '--keep-alive-timeout', '65000'],
  ]
  const token = 'bench'
  const server = await startServer(process.execPath, args, { port, env: { CONFIGPROXY_AUTH_TOKEN: token } })
  const added = await fetch(`http://127.0.0.1:${apiPort}/api/routes${APP_BASE}`, {
    method: 'POST',
    headers: { authorization: `token ${token}` },
    body: JSON.stringify({ target: `http://127.0.0.1:${appPort}` }),
  })
  if (!added.ok) throw new Error(`configurable-http-proxy took no route: ${added.status}`)
  return { pid: opened.use(server).pid, port, headers: hostOf(port), version: manifest.version }
}

export async function startBareProxy({ appPort, opened }: Place): Promise<Way> {
  const port = await freePort()
  const args = [...(await flagsOfImage()), await compileModule('bare-proxy'), `${port}`, `${appPort}`]
  const { pid } = opened.use(await startServer(process.execPath, args, { port }))
  return { pid, port, headers: hostOf(port), webSockets: false }
}

export async function startHaproxy({ appPort, folder, opened }: Place): Promise<Way> {
  const { command, env, version } = await installHaproxy()
  const port = await freePort()
  const config = `global
  nbthread 1
  maxconn ${CONNECTIONS_MAX}
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
  http-reuse always
frontend proxy
  bind 127.0.0.1:${port}
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend app
backend app
  server app 127.0.0.1:${appPort}
`
  const file = await written(folder, 'haproxy.cfg', config)
  const { pid } = opened.use(await startServer(command, ['-db', '-f', file], { port, env }))
  return { pid, port, headers: hostOf(port), version }
}

export async function startCaddy({ appPort, folder, opened }: Place): Promise<Way> {
  const { command, env, version } = await installCaddy()
  const port = await freePort()
  const config = `{
  admin off
  auto_https off
  persist_config off
}
http://:${port} {
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:${appPort} {
    transport http {
      keepalive_idle_conns_per_host 64
    }
  }
}
`
  const file = await written(folder, 'Caddyfile', config)
  const args = ['run', '--config', file, '--adapter', 'caddyfile']
  const home = { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const { pid } = opened.use(await startServer(command, args, { port, env: { ...env, ...home } }))
  return { pid, port, headers: hostOf(port), version }
}

/**
 * Connections to the app are kept alive; large answers are not written to disk.
 *
 * @param more directives of the location of the app, and further locations and upstreams
 */
export async function startNginx(
  { appPort, folder, opened }: Place,
  more: { location?: string; server?: string; http?: string } = {},
): Promise<Way> {
  const { command, version } = await findNginx()
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`)
  const config = `worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections ${2 * CONNECTIONS_MAX}; }
http {
  access_log off;
  ${temporary.join(' ')}
  keepalive_requests 1000000000;
  tcp_nodelay on;
  map $http_upgrade $connection_header { default upgrade; '' ''; }
  upstream app { server 127.0.0.1:${appPort}; keepalive 64; keepalive_requests 1000000000; }
  ${more.http ?? ''}
  server {
    listen 127.0.0.1:${port};
    ${more.server ?? ''}
    location / {
      ${more.location ?? ''}
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_header;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_buffers 16 16k;
      proxy_max_temp_file_size 0;
      proxy_read_timeout 1h;
    }
  }
}
`
  await written(folder, 'nginx.conf', config)
  const args = ['-p', folder, '-c', 'nginx.conf', '-e', 'error.log', '-g', 'daemon off;']
  const { pid } = opened.use(await startServer(command, args, { port }))
  return { pid, port, headers: hostOf(port), version }
}

async function written(folder: string, name: string, content: string): Promise<string> {
  await mkdir(folder, { recursive: true })
  const file = join(folder, name)
  await writeFile(file, content)
  return file
}
