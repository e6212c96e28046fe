import { freePort } from '../../src/demo/listen.ts'
import { startRedis } from '../contract/redis-server.ts'
import { logIn, startOidcProvider } from './oidc-login.ts'
import { messageOf, startServer, startWorker } from './processes.ts'
import { type Place, startNginx, type Way } from './proxies.ts'
import type { SessionChecker } from './session-checker.ts'
import { installOauth2Proxy } from './tools.ts'

/** nginx, which asks a small Node server about the session before every request. */
export async function startNginxWithSessions(place: Place): Promise<Way> {
  const checker = place.opened.use(startWorker(new URL('./session-checker.ts', import.meta.url)))
  const { port, cookie } = await messageOf<SessionChecker>(checker.worker)
  const { version: _, ...proxy } = await startNginx(place, {
    http: `upstream checker { server 127.0.0.1:${port}; keepalive 64; keepalive_requests 1000000000; }`,
    server: `location = /.session {
      internal;
      proxy_pass http://checker;
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
    }`,
    location: 'auth_request /.session;',
  })
  return { ...proxy, headers: { ...proxy.headers, Cookie: cookie }, beside: checker.pid }
}

/** With its sessions in Redis, after one real login; no logs, and connections to the app as it makes them by itself. */
export async function startOauth2Proxy({ appPort, opened }: Place): Promise<Way> {
  const { command, env, version } = await installOauth2Proxy()
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const redis = opened.adopt(await startRedis(), (server) => server.stop())
  await using provider = await startOidcProvider(await freePort(), `${url}/oauth2/callback`)
  const options = {
    'http-address': `127.0.0.1:${port}`,
    upstream: `http://127.0.0.1:${appPort}/`,
    provider: 'oidc',
    'oidc-issuer-url': provider.issuer,
    'client-id': provider.client.id,
    'client-secret': provider.client.secret,
    'code-challenge-method': 'S256',
    scope: 'openid email',
    'redirect-url': `${url}/oauth2/callback`,
    'email-domain': '*',
    'cookie-secret': '0123456789abcdef0123456789abcdef',
    'cookie-secure': 'false',
    'session-store-type': 'redis',
    'redis-connection-url': redis.url,
    'request-logging': 'false',
    'auth-logging': 'false',
    'standard-logging': 'false',
  }
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  const { pid } = opened.use(await startServer(command, args, { port, env }))
  const cookie = await logIn(`${url}/oauth2/start?rd=/`)
  return { pid, port, headers: { Host: `127.0.0.1:${port}`, Cookie: cookie }, version, beside: redis.pid }
}
