import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls'
import { expect, it, onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { createUpstream } from '../../../src/proxy/forward.ts'
import { createWebSocketUpstream } from '../../../src/proxy/websocket.ts'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const TIMEOUTS = { connect: 5, response: 5, idle: 60 }
const PUBLIC_HOST = 'apps.example.org'

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** An app with a certificate for `localhost` that this process trusts; it tells which name it was asked for. */
async function startTlsApp(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'tls-app-'))
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const made = ['-nodes', '-days', '1', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
  execFileSync('openssl', ['req', '-x509', ...curve, ...made, '-keyout', keyFile, '-out', certFile], {
    stdio: 'ignore',
  })
  const [cert, key] = [readFileSync(certFile, 'utf8'), readFileSync(keyFile, 'utf8')]
  rmSync(folder, { recursive: true })
  const trusted = getCACertificates('default')
  setDefaultCACertificates([...trusted, cert])
  onTestFinished(() => setDefaultCACertificates(trusted))
  const app = createTlsServer({ cert, key }, (req, res) => void res.end(String((req.socket as TLSSocket).servername)))
  app.on('upgrade', ({ headers, socket }) => {
    const accept = createHash('sha1').update(`${headers['sec-websocket-key']}${GUID}`).digest('base64')
    const lines = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${accept}`]
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`)
    const name = String((socket as TLSSocket).servername)
    socket.write(Buffer.concat([Buffer.from([0x81, name.length]), Buffer.from(name)]))
    socket.on('error', () => {}).on('end', () => socket.end())
  })
  return listening(app)
}

it('an app with TLS is asked, and verified, by its own name, whatever the public host is: plain requests', async () => {
  const upstream = createUpstream({ url: `https://localhost:${await startTlsApp()}/`, timeouts: TIMEOUTS })
  onTestFinished(() => upstream.close())
  const gateway = createServer((req, res) => {
    const headers = ['host', PUBLIC_HOST]
    const onClose = (listener: () => void) => void res.on('close', listener)
    const rest = { body: undefined, responseHeaders: (raw: readonly string[]) => [...raw], onClose }
    upstream.request(req, res, { method: 'GET', path: '/', headers, ...rest }).catch((error) => res.end(String(error)))
  })
  const answer = await fetch(`http://127.0.0.1:${await listening(gateway)}/`)
  expect(await answer.text()).toBe('localhost')
})

it('an app with TLS is asked, and verified, by its own name, whatever the public host is: WebSockets', async () => {
  const upstream = createWebSocketUpstream({ url: `https://localhost:${await startTlsApp()}/`, timeouts: TIMEOUTS })
  const gateway = createServer()
  gateway.on('upgrade', (req, socket, head) =>
    upstream.upgrade(req, socket, head, {
      path: '/',
      headers: ['host', PUBLIC_HOST, 'sec-websocket-key', String(req.headers['sec-websocket-key'])],
      responseHeaders: (raw) => raw.slice(raw.indexOf('Sec-WebSocket-Accept')),
      onOpen: () => {},
      onFailure: () => socket.destroy(),
    }),
  )
  const client = new WebSocket(`ws://127.0.0.1:${await listening(gateway)}/`)
  onTestFinished(() => client.terminate())
  const heard = await new Promise((resolve, reject) => {
    client.once('message', (data) => resolve(String(data)))
    client.once('error', reject)
  })
  expect(heard).toBe('localhost')
})
