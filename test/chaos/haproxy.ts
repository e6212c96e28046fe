import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openConnection } from '../flow/raw-http.ts'
import { until } from '../flow/until.ts'
import { ANSWERED_BY, type Balanced } from './nginx.ts'

const HAPROXY = '/usr/sbin/haproxy'

/** @throws {Error} when there is no haproxy, and none can be installed */
function needHaproxy(): void {
  if (existsSync(HAPROXY)) return
  if (process.getuid?.() !== 0) throw new Error('haproxy is missing (install with: apt-get install haproxy)')
  execFileSync('apt-get', ['update', '-qq'], { stdio: 'ignore' })
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'haproxy'], { stdio: 'ignore' })
}

/** A load balancer that asks `/readyz`, so that a replica which stops gets nothing new long before it does. */
export async function startHaproxy(port: number, replicas: readonly Balanced[]) {
  needHaproxy()
  const folder = mkdtempSync(join(tmpdir(), 'haproxy-'))
  const file = join(folder, 'haproxy.cfg')
  writeFileSync(file, configuration(port, replicas))
  const child = spawn(HAPROXY, ['-f', file, '-db'], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text) => (said += text))
  await until('haproxy answers', async () => {
    if (child.exitCode !== null) throw new Error(`haproxy did not start: ${said}`)
    const connection = openConnection(port)
    connection.write(Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'))
    return (await connection.read()).status === 421
  })
  return {
    errors: () => said,
    async stop(): Promise<void> {
      child.kill('SIGTERM')
      await once(child, 'exit')
      rmSync(folder, { recursive: true })
    },
  }
}

function configuration(port: number, replicas: readonly Balanced[]): string {
  const servers = replicas.map(
    (replica, index) => `  server gateway-${index} 127.0.0.1:${replica.port} check port ${replica.adminPort}`,
  )
  return `global
  maxconn 2000
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  timeout check 2s
frontend everybody
  bind 127.0.0.1:${port}
  default_backend gateways
backend gateways
  balance roundrobin
  option httpchk GET /readyz
  default-server inter 100ms fall 1 rise 1
  option redispatch 1
  retries 2
  retry-on conn-failure
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-response set-header ${ANSWERED_BY} %s
${servers.join('\n')}
`
}
