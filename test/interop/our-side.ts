import { mkdtempSync, rmSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { createFields, pairingSchema } from '../../src/config/schema.ts'
import { createOutbound } from '../../src/core/outbound.ts'
import { Secret } from '../../src/core/secret.ts'
import { systemClock } from '../../src/core/time.ts'
import { close, listen } from '../../src/demo/listen.ts'
import type { VerifiedCredential } from '../../src/trust/credentials/credential.ts'
import { createIntrospectionVerifier } from '../../src/trust/credentials/introspection.ts'
import { createDiscover } from '../../src/trust/discovery.ts'
import { signRequest, type VerifiedSignature, verifySignature } from '../../src/trust/http-signature.ts'
import { createKeys } from '../../src/trust/keys.ts'
import { createPairings, type Pairing } from '../../src/trust/pairings.ts'
import type { SignedMessage } from '../../src/trust/signature-base.ts'
import { loadSigningKey } from '../../src/trust/signing-key.ts'
import { createToldEvents } from '../unit/fixtures.ts'

/** A request as it came in. */
export interface Received {
  readonly message: SignedMessage
  readonly body: Buffer
}

interface Asking {
  readonly introspection: Readonly<Record<string, unknown>>
  readonly secret?: string
  readonly keysUrl?: string
}

/**
 * The gateway’s own key, key cache and verifiers, and a small server under the same name (`localhost:<port>`): it
 * publishes the key and a discovery document, keeps every POST, and answers it with `answer`.
 */
export async function startOurSide() {
  const received: Received[] = []
  let answer: (received: Received) => Promise<{ status: number; body: unknown }> = async () => ({
    status: 201,
    body: {},
  })
  const { server, port } = await listen((req, res) => void serve(req, res), 0)
  const authority = `localhost:${port}`
  const url = `http://${authority}`
  const folder = mkdtempSync(join(tmpdir(), 'our-side-'))
  const signingKey = await loadSigningKey(join(folder, 'key.json'), authority)
  const outbound = createOutbound({ insecureLoopback: true })
  const { events } = createToldEvents()
  const keys = createKeys({
    outbound,
    discover: createDiscover({ outbound, insecureLoopback: true }),
    now: systemClock,
    events,
  })

  async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { status, body } = req.method === 'POST' ? await accept(req) : documentAt(req.url)
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }

  async function accept(req: IncomingMessage) {
    const headers = Object.entries(req.headersDistinct).flatMap(([name, values = []]) =>
      values.map((value) => [name, value] as const),
    )
    const message = { method: req.method ?? '', targetUri: `${url}${req.url}`, headers }
    const request = { message, body: await buffer(req) }
    received.push(request)
    return answer(request)
  }

  function documentAt(path: string | undefined) {
    if (path === '/.well-known/jwks.json') return { status: 200, body: signingKey.jwks }
    if (path === '/.well-known/ocm') return { status: 200, body: discoveryOf(url) }
    return { status: 404, body: {} }
  }

  const pairingWith = (domain: string, { introspection, secret = '', keysUrl }: Partial<Asking> = {}): Pairing => {
    const fields = createFields({ baseDir: '/', readSecret: () => new Secret(secret) })
    const asked = introspection && { ...introspection, ...(secret && { clientSecretFile: 'secret' }) }
    return pairingSchema(fields).parse({ domain, modes: ['introspected'], keysUrl, introspection: asked })
  }

  return {
    authority,
    url,
    jwksUrl: `${url}/.well-known/jwks.json`,
    signingKey,
    received,
    answerWith(next: typeof answer): void {
      answer = next
    },
    /** The key that a server publishes under `kid`, found as the gateway finds it. */
    keyOf: (domain: string, kid: string) => keys.find(pairingWith(domain), kid),
    /** Verifies a request as the Integration API does. */
    verify: ({ message, body }: Received, senderDomain: string): Promise<VerifiedSignature> =>
      verifySignature(message, body, {
        now: systemClock(),
        senderDomain,
        tolerateUntagged: false,
        findKey: (keyid) => keys.find(pairingWith(senderDomain), keyid),
      }),
    /** A POST signed with the gateway’s key; `sent` may replace the body that was signed. */
    async post(target: string, body: string, sent = body) {
      const signed = signRequest({ method: 'POST', url: target, body: Buffer.from(body) }, signingKey, systemClock())
      const headers = new Headers({ ...signed, 'content-type': 'application/json' })
      headers.delete('content-length')
      const response = await fetch(target, { method: 'POST', headers, body: sent })
      return { status: response.status, text: await response.text() }
    },
    /** The gateway’s verifier of introspected credentials, for one pairing. */
    asker(domain: string, asking: Asking): (text: string) => Promise<VerifiedCredential | undefined> {
      const pairings = createPairings([pairingWith(domain, asking)], { insecureLoopback: true })
      const parts = { pairings, keys, outbound, signingKey, now: systemClock, events, takeRate: () => () => {} }
      const verify = createIntrospectionVerifier(parts)
      return (text) => verify(text, pairings.all, 'somebody')
    },
    async stop(): Promise<void> {
      await Promise.all([close(server), outbound.close()])
      rmSync(folder, { recursive: true })
    },
  }
}

/** What an OCM server says of itself, as far as a sender of WebDAV shares wants to know it. */
function discoveryOf(url: string) {
  const protocols = { webdav: '/webdav/', 'webdav-receive': { uri: 'relative' } }
  return {
    enabled: true,
    apiVersion: '1.4.0',
    endPoint: `${url}/ocm`,
    tokenEndPoint: `${url}/ocm/token`,
    jwksUri: `${url}/.well-known/jwks.json`,
    capabilities: ['exchange-token', 'http-sig'],
    criteria: ['must-exchange-token', 'must-use-http-sig'],
    resourceTypes: [{ name: 'file', shareTypes: ['user'], protocols }],
  }
}
