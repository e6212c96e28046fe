import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openConnection } from '../flow/raw-http.ts'
import { until } from '../flow/until.ts'

/** Debian’s; an ordinary user’s PATH does not have it. */
const NGINX = '/usr/sbin/nginx'
/** Which replica answered; of several that were asked, the last one. */
export const ANSWERED_BY = 'x-answered-by'

/** Where a replica serves, and where it says how it is. */
export interface Balanced {
  readonly port: number
  readonly adminPort: number
}

/** @throws {Error} when there is no nginx, and none can be installed */
function needNginx(): void {
  if (existsSync(NGINX)) return
  if (process.getuid?.() !== 0) throw new Error('nginx is missing (install with: apt-get install nginx)')
  execFileSync('apt-get', ['update', '-qq'], { stdio: 'ignore' })
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'nginx'], { stdio: 'ignore' })
}

/** A real load balancer: each request to the next replica, and what may be repeated to another one when that fails. */
export async function startNginx(port: number, replicas: readonly Balanced[]) {
  needNginx()
  const folder = mkdtempSync(join(tmpdir(), 'nginx-'))
  writeFileSync(join(folder, 'nginx.conf'), configuration(port, replicas))
  const args = ['-p', folder, '-c', 'nginx.conf', '-e', 'error.log', '-g', 'daemon off;']
  const child = spawn(NGINX, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text) => (said += text))
  await until('nginx answers', async () => {
    if (child.exitCode !== null) throw new Error(`nginx did not start: ${said}`)
    const connection = openConnection(port)
    connection.write(Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'))
    return (await connection.read()).status > 0
  })
  return {
    /** What it could not do. */
    errors: () => readFileSync(join(folder, 'error.log'), 'utf8'),
    async stop(): Promise<void> {
      child.kill('SIGTERM')
      await once(child, 'exit')
      rmSync(folder, { recursive: true })
    },
  }
}

function configuration(port: number, replicas: readonly Balanced[]): string {
  // A request that a revocation cuts is no failure of its replica; nginx would take all of them out of service for it.
  const servers = replicas.map((replica) => `server 127.0.0.1:${replica.port} max_fails=0;`)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`)
  return `worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 1024; }
http {
  access_log off;
  ${temporary.join(' ')}
  map $http_upgrade $connection_header { default upgrade; '' ''; }
  upstream gateways { ${servers.join(' ')} keepalive 16; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_next_upstream error timeout;
      proxy_connect_timeout 2s;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_header;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      add_header ${ANSWERED_BY} $upstream_addr always;
    }
  }
}
`
}
