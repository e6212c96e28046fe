import { randomBytes } from 'node:crypto'
import type { Response } from 'express'
import { z } from 'zod'
import { badRequest, forbidden } from '../core/errors.ts'
import { parseOcmAddress } from '../core/ocm-address.ts'
import { type Clock, systemClock } from '../core/time.ts'
import { keyidAuthority } from '../trust/http-signature.ts'
import { answerError, jsonOf, startOcmServer } from './ocm-server.ts'
import { sendPage, serveAssets } from './page.ts'
import { endedPage, failurePage, launchPage, listPage, openedPage } from './receiving-pages.ts'

export interface ReceivingServerOptions {
  readonly port?: number
  /** Below `localhost`; two Receiving Servers of one test need two. */
  readonly host?: string
  readonly user?: string
  readonly brand?: string
  readonly now?: Clock
}

/** The parts of a share-creation notification that this cloud uses. */
const incomingShare = z.object({
  shareWith: z.string(),
  name: z.string(),
  providerId: z.string(),
  owner: z.string(),
  ownerDisplayName: z.string().optional(),
  sender: z.string(),
  shareType: z.literal('user'),
  resourceType: z.enum(['file', 'folder']),
  protocol: z.object({
    name: z.literal('multi'),
    webapp: z.object({
      uri: z.url(),
      targets: z.array(z.string()).min(1),
      permissions: z.array(z.string()).min(1),
      requirements: z
        .array(z.string())
        .refine((list) => list.includes('must-exchange-token'), 'needs must-exchange-token'),
      sharedSecret: z.string().min(1),
      appName: z.string().optional(),
    }),
  }),
})

const incomingNotification = z.object({ notificationType: z.string(), providerId: z.string() })
const tokenAnswer = z.object({ access_token: z.string(), token_type: z.string(), expires_in: z.number() })

export interface ReceivedShare extends z.infer<typeof incomingShare> {
  /** Our own name for it, in our own URLs. */
  readonly id: string
  readonly senderDomain: string
}

/** What the browser is made to post. */
export interface Launch {
  readonly action: string
  readonly fields: { readonly access_token: string; readonly expired_session_redirect_uri: string }
}

const MIN_TOKEN_SECONDS = 30

export type ReceivingServer = Awaited<ReturnType<typeof startReceivingServer>>

/**
 * Bob’s cloud: an OCM Receiving Server. It knows nothing of gateways: it exchanges the share’s secret at the sender’s
 * `tokenEndPoint`, and makes the browser post the token to the share’s `uri`, in an iframe or a tab of its own.
 */
export async function startReceivingServer(options: ReceivingServerOptions = {}) {
  const { port = 0, host = 'bob.localhost', user = 'bob', brand = 'Harbor Cloud', now = systemClock } = options
  const ocm = await startOcmServer({ host, port, now, discovery: () => discoveryOf(brand) })
  const { app, domain, url } = ocm
  const address = `${user}@${domain}`
  const shares = new Map<string, ReceivedShare>()
  const tokens = new Map<string, { token: string; expiresAt: number }>()
  const listeners = new Set<Response>()
  let revision = 0

  app.post('/ocm/shares', ocm.observe('shares'), async (req, res) => {
    const share = jsonOf(req, incomingShare)
    const senderDomain = parseOcmAddress(share.sender)?.authority
    const recipient = parseOcmAddress(share.shareWith)
    if (senderDomain === undefined || recipient?.id !== user || recipient.authority !== domain) {
      throw badRequest('shareWith', `${share.shareWith} is nobody here.`)
    }
    await ocm.verify(req, senderDomain)
    const known = find(senderDomain, share.providerId)
    const id = known?.id ?? randomBytes(6).toString('hex')
    shares.set(id, { ...share, id, senderDomain })
    announce()
    res.status(201).json({ recipientDisplayName: user })
  })

  app.post('/ocm/notifications', ocm.observe('notifications'), async (req, res) => {
    const { notificationType, providerId } = jsonOf(req, incomingNotification)
    if (notificationType !== 'SHARE_UNSHARED')
      throw badRequest('notificationType', 'Only SHARE_UNSHARED is understood here.')
    const senderDomain = signerOf(req.get('signature-input') ?? '')
    if (senderDomain === undefined)
      throw forbidden('unsigned', 'Only a signed notification says whose share it is about.')
    await ocm.verify(req, senderDomain)
    const share = find(senderDomain, providerId)
    if (share !== undefined) {
      shares.delete(share.id)
      tokens.delete(share.id)
      announce()
    }
    res.status(201).json({})
  })

  function find(senderDomain: string, providerId: string): ReceivedShare | undefined {
    return [...shares.values()].find((share) => share.senderDomain === senderDomain && share.providerId === providerId)
  }

  /** The Code Flow: a signed request to the sender’s token endpoint. */
  async function exchange({ senderDomain, protocol: { webapp } }: ReceivedShare): Promise<z.infer<typeof tokenAnswer>> {
    const { tokenEndPoint } = await ocm.discover(senderDomain)
    if (tokenEndPoint === undefined) throw new Error(`${senderDomain} has no token endpoint`)
    const form = new URLSearchParams({ grant_type: 'authorization_code', client_id: domain, code: webapp.sharedSecret })
    const { status, body } = await ocm.send(tokenEndPoint, 'form', form.toString())
    if (status !== 200) throw new Error(`${senderDomain} gives no access: ${status} ${JSON.stringify(body)}`)
    return tokenAnswer.parse(body)
  }

  /** The access token for a share: the one we have until half a minute before its end, then a new one. */
  async function tokenFor(share: ReceivedShare): Promise<string> {
    const kept = tokens.get(share.id)
    if (kept !== undefined && kept.expiresAt - now() > MIN_TOKEN_SECONDS) return kept.token
    const { access_token, expires_in } = await exchange(share)
    tokens.set(share.id, { token: access_token, expiresAt: now() + expires_in })
    return access_token
  }

  async function launch(share: ReceivedShare): Promise<Launch> {
    const expired_session_redirect_uri = `${url}/session-ended/${share.id}`
    return {
      action: share.protocol.webapp.uri,
      fields: { access_token: await tokenFor(share), expired_session_redirect_uri },
    }
  }

  /** Tells the open pages that the list has changed. */
  function announce(): void {
    revision += 1
    for (const listener of listeners) listener.write(`data: ${revision}\n\n`)
  }

  serveAssets(app)
  app.get('/', (_req, res) => sendPage(res, listPage({ brand, address, shares: [...shares.values()], revision })))
  app.get('/events', (_req, res) => {
    res.set({ 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).write(`data: ${revision}\n\n`)
    listeners.add(res)
    res.on('close', () => listeners.delete(res))
  })
  app.get('/open/:id{/tab}', async (req, res) => {
    const share = shares.get(req.params.id)
    if (share === undefined)
      return sendPage(
        res.status(404),
        failurePage({ brand, address, title: 'This share is gone', text: 'It is no longer shared with you.' }),
      )
    const inFrame = share.protocol.webapp.targets.includes('iframe') && !req.path.endsWith('/tab')
    try {
      const opening = await launch(share)
      sendPage(
        res,
        inFrame ? openedPage({ brand, share, launch: opening }) : launchPage({ brand, share, launch: opening }),
      )
    } catch (error) {
      sendPage(
        res.status(502),
        failurePage({ brand, address, title: 'It cannot be opened now', text: (error as Error).message }),
      )
    }
  })
  app.get('/session-ended/:id', (req, res) => {
    sendPage(res, endedPage({ brand, share: shares.get(req.params.id), revision }))
  })
  app.use(answerError)

  return {
    domain,
    url,
    issuer: ocm.issuer,
    address,
    keys: ocm.keys,
    hits: ocm.hits,
    faults: ocm.faults,
    shares: () => [...shares.values()],
    exchange,
    launch,
    /** Any signed POST, as this server. */
    send: ocm.send,
    close: ocm.close,
  }
}

function discoveryOf(brand: string) {
  const protocols = { 'webdav-receive': { uri: 'absolute' }, 'webapp-receive': { targets: ['blank', 'iframe'] } }
  return {
    provider: brand,
    capabilities: ['exchange-token', 'http-sig', 'notifications', 'protocol-object'],
    criteria: ['must-use-http-sig', 'must-exchange-token'],
    resourceTypes: ['file', 'folder'].map((name) => ({ name, shareTypes: ['user'], protocols })),
  }
}

/** The host that a signature claims to come from; the verification that follows proves it. */
function signerOf(signatureInput: string): string | undefined {
  const keyid = /;keyid="([^"]+)"/.exec(signatureInput)?.[1]
  return keyid === undefined ? undefined : keyidAuthority(keyid)
}
