import { setTimeout as wait } from 'node:timers/promises'
import express, { type ErrorRequestHandler, type Request, type RequestHandler } from 'express'
import { z } from 'zod'
import { badRequest, GatewayError, unauthorized } from '../core/errors.ts'
import { createOutbound } from '../core/outbound.ts'
import type { Clock } from '../core/time.ts'
import { type RequestSigner, signRequest, verifySignature } from '../trust/http-signature.ts'
import { importVerificationKey } from '../trust/jwk.ts'
import { createKeyring } from './keyring.ts'
import { close, listen } from './listen.ts'

const LIMITS = { timeoutSeconds: 15, maxBytes: 8 * 1024 * 1024, operatorNamed: true }

/** What other servers call, counted and breakable one by one. */
export type Endpoint = 'discovery' | 'jwks' | 'token' | 'webdav' | 'shares' | 'notifications'

/** How an endpoint misbehaves: late, with another answer, or with none at all. */
interface Fault {
  readonly delaySeconds?: number
  readonly hang?: boolean
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** How a signed request differs from a good one. */
export interface SendOverrides {
  readonly signer?: RequestSigner
  /** Signed as if sent then, epoch seconds. */
  readonly created?: number
  /** Signed for this URL instead of the one that is called. */
  readonly signedUrl?: string
  /** Signed over this body instead of the one that is sent. */
  readonly signedBody?: string
  /** Replaces headers after signing; `undefined` leaves one out. */
  readonly headers?: Readonly<Record<string, string | undefined>>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** The body as JSON when it is JSON, else as text. */
  readonly body: unknown
}

const discoveryDocument = z.object({
  endPoint: z.url(),
  jwksUri: z.url(),
  tokenEndPoint: z.url().optional(),
  resourceTypes: z.array(
    z.object({
      name: z.string(),
      protocols: z.object({ 'webapp-receive': z.object({ targets: z.array(z.string()) }).optional() }),
    }),
  ),
})

export type Discovery = z.infer<typeof discoveryDocument>

export interface OcmServerOptions {
  /** Host name without a port, below `localhost`. */
  readonly host: string
  readonly port: number
  readonly now: Clock
  /** What this server adds to its discovery document. */
  readonly discovery: (url: string) => Record<string, unknown>
}

/**
 * What every OCM server has, Sending or Receiving: a name, keys, a discovery document, and signed requests in both
 * directions. Plain http on loopback; its `issuer` says https all the same, as deployed servers do behind their proxy.
 *
 * @see draft-ietf-ocm-open-cloud-mesh, discovery and HTTP signatures
 */
export async function startOcmServer({ host, port: wished, now, discovery }: OcmServerOptions) {
  const app = express().disable('x-powered-by').set('query parser', 'simple')
  const { server, port } = await listen(app, wished)
  const domain = `${host}:${port}`
  const url = `http://${domain}`
  const keys = createKeyring(`https://${domain}`)
  const outbound = createOutbound({ insecureLoopback: true })
  const hits: Record<Endpoint, number> = { discovery: 0, jwks: 0, token: 0, webdav: 0, shares: 0, notifications: 0 }
  const faults: Partial<Record<Endpoint, Fault>> = {}

  /** Counts a request, and lets the endpoint misbehave when it should. */
  const observe =
    (endpoint: Endpoint): RequestHandler =>
    async (_req, res, next) => {
      hits[endpoint] += 1
      const fault = faults[endpoint]
      if (fault?.hang) return
      if (fault?.delaySeconds) await wait(fault.delaySeconds * 1000)
      if (fault?.status === undefined && fault?.body === undefined) return next()
      res.status(fault.status ?? 200).set({ 'content-type': 'application/json', ...fault.headers })
      res.end(fault.body)
    }

  // Files may be larger than anything else.
  app.use('/dav', express.raw({ type: () => true, limit: '64mb' }))
  app.use(express.raw({ type: () => true, limit: LIMITS.maxBytes }))
  app.get('/.well-known/ocm', observe('discovery'), (_req, res) => {
    const common = {
      enabled: true,
      apiVersion: '1.4.0',
      endPoint: `${url}/ocm`,
      jwksUri: `${url}/.well-known/jwks.json`,
    }
    res.json({ ...common, ...discovery(url) })
  })
  app.get('/.well-known/jwks.json', observe('jwks'), (_req, res) => {
    res.json(keys.jwks())
  })

  async function discover(authority: string): Promise<Discovery> {
    return discoveryDocument.parse(await outbound.getJson(`http://${authority}/.well-known/ocm`, LIMITS))
  }

  return {
    domain,
    url,
    issuer: `https://${domain}`,
    app,
    keys,
    hits,
    faults,
    observe,
    discover,

    /** A POST signed as OCM asks (RFC 9421), with whatever `overrides` make wrong about it. */
    async send(target: string, type: 'json' | 'form', body: string, overrides: SendOverrides = {}): Promise<Answer> {
      const message = {
        method: 'POST',
        url: overrides.signedUrl ?? target,
        body: Buffer.from(overrides.signedBody ?? body),
      }
      const signed = signRequest(message, overrides.signer ?? keys.current, overrides.created ?? now())
      const headers = {
        'content-type': CONTENT_TYPES[type],
        ...signed,
        ...overrides.headers,
        'content-length': undefined,
      }
      const present = Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined)
      const answer = await outbound.request(target, { method: 'POST', headers: present, body }, LIMITS)
      return { ...answer, body: jsonOrText(answer.body.toString('utf8')) }
    },

    /** @throws {GatewayError} 401 unless the server of `senderDomain` signed this very request */
    async verify(req: Request, senderDomain: string): Promise<void> {
      const headers = Object.entries(req.headersDistinct).flatMap(([name, values = []]) =>
        values.map((value) => [name, value] as const),
      )
      const message = { method: req.method, targetUri: `${url}${req.originalUrl}`, headers }
      const findKey = async (keyid: string) => {
        const { jwksUri } = await discover(senderDomain)
        const { keys: published } = jwkSet.parse(await outbound.getJson(jwksUri, LIMITS))
        const key = importVerificationKey(published.find(({ kid }) => kid === keyid))
        if (typeof key === 'string') throw unauthorized('key_unknown', `${senderDomain} publishes no such key: ${key}.`)
        return key
      }
      await verifySignature(message, bodyOf(req), { now: now(), senderDomain, tolerateUntagged: false, findKey })
    },

    async close(): Promise<void> {
      await Promise.all([close(server), outbound.close()])
    },
  }
}

const CONTENT_TYPES = { json: 'application/json', form: 'application/x-www-form-urlencoded' }
const jwkSet = z.object({ keys: z.array(z.looseObject({ kid: z.string() })) })

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The bytes of a request; a request without a body has none. */
export function bodyOf(req: Request): Buffer {
  return Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0)
}

export function formOf(req: Request): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(bodyOf(req).toString('utf8')))
}

/** @throws {GatewayError} 400 when the body is not the JSON that `schema` describes */
export function jsonOf<T>(req: Request, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(jsonOrText(bodyOf(req).toString('utf8')))
  if (!parsed.success) throw badRequest('invalid_request', z.prettifyError(parsed.error))
  return parsed.data
}

/** Buttons on our own pages only: a page elsewhere must not press them (the clouds of the demo have no log-in). */
export const ownPagesOnly: RequestHandler = (req, _res, next) => {
  const site = req.headers['sec-fetch-site']
  next(
    site === undefined || site === 'same-origin'
      ? undefined
      : badRequest('cross_site', 'Only the pages of this cloud may do that.'),
  )
}

/** Errors as JSON; the last thing that an app is given. */
export const answerError: ErrorRequestHandler = (error, _req, res, next) => {
  if (res.headersSent) return next(error)
  const { status = 500, message } = error as { status?: number; message: string }
  res.status(status).json({ error: error instanceof GatewayError ? error.reason : 'server_error', message })
}
