import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls'
import { expect, it, onTestFinished } from 'vitest'
import { createUpstream } from '../../../src/proxy/forward.ts'
import { listening } from '../serving.ts'
import { acceptance, firstMessage } from './handshakes.ts'

const TIMEOUTS = { connect: 5, response: 5, idle: 60 }
const PUBLIC_HOST = 'apps.example.org'

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
    socket.write(acceptance(headers['sec-websocket-key'], String((socket as TLSSocket).servername)))
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
  expect(await firstMessage(`https://localhost:${await startTlsApp()}/`, PUBLIC_HOST)).toBe('localhost')
})
