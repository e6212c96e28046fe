import type { Request, RequestHandler } from 'express'
import { badRequest, type GatewayError, unauthorized, unavailable, unsupportedMediaType } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { parseOcmAddress } from '../core/ocm-address.ts'
import type { Clock } from '../core/time.ts'
import type { Sessions } from '../sessions/sessions.ts'
import { type Grants, regrant } from '../shares/grant.ts'
import type { Records } from '../shares/records.ts'
import { parseWithoutSecrets, readProvisioning, readShareId } from '../shares/share.ts'
import type { Credentials } from '../trust/credentials/registry.ts'
import { type VerifiedSignature, verifySignature } from '../trust/http-signature.ts'
import type { Keys } from '../trust/keys.ts'
import type { Pairing, Pairings } from '../trust/pairings.ts'
import { networkOf } from './client.ts'
import { contextOf, decisionOf, type RequestContext } from './context.ts'
import type { RateLimits } from './rate-limits.ts'
import { sendJson } from './send.ts'

export interface IntegrationParts {
  readonly pairings: Pairings
  readonly keys: Keys
  readonly records: Records
  readonly grants: Grants
  readonly sessions: Sessions
  readonly credentials: Credentials
  readonly rateLimits: RateLimits
  readonly events: Events
  readonly now: Clock
  /** `server.publicUrl`: what `@target-uri` starts with, whatever a client says. */
  readonly publicUrl: string
  readonly failuresPerMinute: number
}

/** A request whose sender is proven. */
interface SignedRequest {
  readonly body: Readonly<Record<string, unknown>>
  readonly pairing: Pairing
  readonly signature: VerifiedSignature
}

export const liveness: RequestHandler = (_req, res) =>
  sendJson(res, 200, { status: 'ok', service: 'ocm-webapp-gateway' })

/** The back channel of OCM-IP: a Sending Server announces and revokes shares; requests are signed (RFC 9421). */
export function createIntegrationApi(parts: IntegrationParts) {
  const {
    pairings,
    keys,
    records,
    grants,
    sessions,
    credentials,
    rateLimits,
    events,
    now,
    publicUrl,
    failuresPerMinute,
  } = parts
  const toleratedOnce = new Set<string>()

  /** JSON → sender → pairing → signature, in this order: no key is fetched for a server that is not paired. */
  async function prove(req: Request): Promise<SignedRequest> {
    const body = readJson(req)
    const pairing = pairedSender(body.sender, contextOf(req))
    return { body, pairing, signature: await verified(req, pairing) }
  }

  /**
   * What does not prove to come from a pairing counts against the client’s address. What does, against the pairing’s rate:
   * shares and launches apart, so that neither stands in the way of the other, and a revocation against nothing.
   */
  async function signed(req: Request): Promise<SignedRequest> {
    const proven = await prove(req).catch((error) => {
      rateLimits.take(`address ${networkOf(contextOf(req).client.address)}`, failuresPerMinute)
      throw error
    })
    return proven
  }

  function pairedSender(sender: unknown, context: RequestContext): Pairing {
    const domain = typeof sender === 'string' ? parseOcmAddress(sender)?.authority : undefined
    if (domain === undefined)
      throw badRequest('sender_missing', 'The field sender is missing or not an OCM address (id@host).')
    const pairing = pairings.find(domain)
    if (!pairing?.modes.includes('provisioned')) {
      throw unauthorized('sender_not_paired', `${domain} may not provision shares at this gateway.`, {
        detail: { senderDomain: domain },
      })
    }
    context.senderDomain = domain
    return pairing
  }

  async function verified(req: Request, pairing: Pairing): Promise<VerifiedSignature> {
    const context = contextOf(req)
    const targetUri = publicUrl.replace(/\/$/, '') + context.target.path + context.target.query
    try {
      const signature = await verifySignature(
        { method: req.method, targetUri, headers: pairsOf(req.rawHeaders) },
        bodyOf(req),
        {
          now: now(),
          senderDomain: pairing.domain,
          tolerateUntagged: pairing.tolerate.includes('untagged-signatures'),
          findKey: (keyid) => keys.find(pairing, keyid),
        },
      )
      if (signature.untagged && !toleratedOnce.has(pairing.domain)) {
        toleratedOnce.add(pairing.domain)
        events.toleranceUsed({ senderDomain: pairing.domain, tolerance: 'untagged-signatures' })
      }
      return signature
    } catch (error) {
      const { reason, message, status, detail } = error as GatewayError
      events.signatureRefused({ ...decisionOf(context), reason: reason ?? 'internal_error', status, message, detail })
      throw error
    }
  }

  const shares: RequestHandler = async (req, res) => {
    const context = contextOf(req)
    const { body, pairing, signature } = await signed(req)
    rateLimits.take(`shares ${pairing.domain}`, pairing.limits.requestsPerMinute)
    const identified = readProvisioning(body)
    if (Array.isArray(identified))
      throw badRequest('fields_invalid', `The share is not acceptable: ${identified.join('; ')}.`)
    context.shareId = identified.shareId
    const key = { senderDomain: pairing.domain, shareId: identified.shareId }
    const outcome = await records.provision(identified, applied(signature), pairing)
    if (outcome === 'superseded') throw superseded()
    if (outcome === 'full') {
      throw unavailable(
        'shares_full',
        `${pairing.domain} has as many shares as it may have here (${pairing.limits.shares}).`,
        { retryAfterSeconds: 3600 },
      )
    }
    if (outcome === 'replaced') {
      await sessions.reconcile(key, (session) => regrant(session.grant, identified.share, pairing, now()))
    }
    sendJson(res, 201, { status: 'stored' })
    const { owner, shareWith: recipient, webapp } = identified.share
    const told = { ...decisionOf(context), outcome, owner, recipient, permissions: webapp.permissions }
    events.shareStored({ ...told, shares: await records.count(pairing.domain) })
  }

  const revoke: RequestHandler = async (req, res) => {
    const context = contextOf(req)
    const { body, pairing, signature } = await signed(req)
    const shareId = readShareId(body)
    if (shareId === undefined)
      throw badRequest(
        'fields_invalid',
        'The field providerId (or the older clientId) is missing: a string, or an integer.',
      )
    context.shareId = shareId
    const key = { senderDomain: pairing.domain, shareId }
    const startedAt = performance.now()
    const outcome = await records.revoke(key, applied(signature), pairing)
    if (outcome === 'superseded') throw superseded()
    await sessions.endShare(key, 'revoked')
    sendJson(res, 200, { status: outcome })
    events.shareRevoked({ ...decisionOf(context), outcome, seconds: (performance.now() - startedAt) / 1000 })
  }

  /** The receiver’s own close: the token is the credential; the record stays. */
  const closeByToken: RequestHandler = async (req, res) => {
    const context = contextOf(req)
    const tokens = new URLSearchParams(bodyOf(req).toString('utf8')).getAll('access_token')
    if (tokens.length !== 1 || tokens[0] === undefined)
      throw badRequest('field_missing', 'The form field access_token is missing, or was sent twice.')
    const client = networkOf(context.client.address)
    const credential = await credentials.verify(tokens[0], pairings.all, client).catch((error) => {
      rateLimits.take(`address ${client}`, failuresPerMinute)
      throw error
    })
    rateLimits.take(`launches ${credential.pairing.domain}`, credential.pairing.limits.requestsPerMinute)
    Object.assign(context, { senderDomain: credential.pairing.domain, shareId: credential.clientId })
    const grant = await grants.of(credential)
    const ended = await sessions.endPerson(grant, 'closed')
    sendJson(res, 200, { status: 'closed' })
    events.shareClosed({ ...decisionOf(context), user: grant.user, sessions: ended })
  }

  const close: RequestHandler = (req, res, next) =>
    /^application\/x-www-form-urlencoded\s*(;|$)/i.test(req.headers['content-type'] ?? '')
      ? closeByToken(req, res, next)
      : revoke(req, res, next)

  return { shares, revoke, close }
}

function superseded() {
  return unauthorized(
    'request_superseded',
    'A newer request about this share was applied already; this one is refused (its created time is older, or it is a repetition).',
  )
}

function applied({ created, fingerprint }: VerifiedSignature) {
  return { created, signature: fingerprint }
}

function readJson(req: Request): Record<string, unknown> {
  if (!/^application\/(json|[\w.-]+\+json)\s*(;|$)/i.test(req.headers['content-type'] ?? '')) {
    throw unsupportedMediaType('json_expected', 'The body must be JSON, with Content-Type application/json.')
  }
  if (req.headers['content-length'] === undefined)
    throw badRequest('length_missing', 'The request has no Content-Length, which the signature must cover.')
  let body: unknown
  try {
    body = parseWithoutSecrets(bodyOf(req).toString('utf8'))
  } catch {
    throw badRequest('json_malformed', 'The body is not JSON.')
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw badRequest('json_malformed', 'The body is not a JSON object.')
  return body as Record<string, unknown>
}

function bodyOf(req: Request): Buffer {
  return Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0)
}

function pairsOf(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = []
  for (let index = 0; index < raw.length; index += 2) pairs.push([raw[index] ?? '', raw[index + 1] ?? ''])
  return pairs
}
