import type { RequestHandler } from 'express'
import { badRequest, notFound } from '../core/errors.ts'
import { type Clock, systemClock } from '../core/time.ts'
import { createAccessTokens } from './access-tokens.ts'
import { serveDrive } from './drive.ts'
import { type Answer, answerError, formOf, ownPagesOnly, type SendOverrides, startOcmServer } from './ocm-server.ts'
import { sendPage, serveAssets } from './page.ts'
import { NOTES, type Resource } from './resources.ts'
import { sendingPage } from './sending-page.ts'
import {
  authorityOf,
  newSecret,
  notificationOf,
  notificationWithSecret,
  type Permission,
  type SentShare,
  type Target,
} from './sent-share.ts'

export type { TokenWish } from './access-tokens.ts'
export type { SentShare } from './sent-share.ts'

/** What a Protocol Server and this cloud told each other when they were paired. */
export interface ProtocolServer {
  /** Where shares are pushed, without a trailing slash. */
  readonly integrationApi: string
  readonly launchUrl: string
  readonly appName: string
}

export interface SendingServerOptions {
  readonly port?: number
  /** Below `localhost`; two Sending Servers of one test need two. */
  readonly host?: string
  readonly user?: string
  readonly brand?: string
  readonly now?: Clock
  readonly resources?: readonly Resource[]
  /** OCM addresses that the page offers to share with. */
  readonly contacts?: readonly string[]
  readonly tokenSeconds?: number
}

export interface ShareWish {
  /** Its name; default: the first. */
  readonly resource?: string
  /** Default: the first contact. */
  readonly shareWith?: string
  readonly permissions?: readonly Permission[]
  readonly targets?: readonly Target[]
  /** Default: the launch URL of the pairing, or what its answer to the push says. */
  readonly uri?: string
  readonly expiration?: number
  readonly mode?: SentShare['mode']
  /** `false`: the recipient’s server is not told. */
  readonly notify?: boolean
}

export type SendingServer = Awaited<ReturnType<typeof startSendingServer>>

/**
 * Alice’s cloud: an OCM Sending Server that has a Protocol Server serve its webapp shares. It tells the Protocol Server
 * before it tells the recipient: a share that cannot be pushed is not made.
 *
 * @see draft-nordin-ocm-integration-protocol
 */
export async function startSendingServer(options: SendingServerOptions = {}) {
  const { port = 0, host = 'alice.localhost', user = 'alice', brand = 'Aurora Cloud', now = systemClock } = options
  const { contacts = [], resources = NOTES, tokenSeconds = 3600 } = options
  const ocm = await startOcmServer({ host, port, now, discovery: (url) => discoveryOf(url, brand) })
  const { app, domain, url, issuer, keys } = ocm
  const owner = `${user}@${domain}`
  const shares = new Map<string, SentShare>()
  const mintToken = createAccessTokens({ issuer, user, keys, now, lifetimeSeconds: tokenSeconds })
  let paired: ProtocolServer | undefined
  let lastId = 0

  async function push(path: string, body: object | string, overrides?: SendOverrides): Promise<Answer> {
    if (paired === undefined) throw new Error(`${brand} is not paired with a Protocol Server.`)
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return ocm.send(`${paired.integrationApi}/${path}`, 'json', text, overrides)
  }

  function newShare(wish: ShareWish): SentShare {
    const { resource: name, shareWith = contacts[0], uri = paired?.launchUrl, expiration, mode = 'provisioned' } = wish
    const { permissions = ['view', 'read', 'write'], targets = ['iframe', 'blank'] } = wish
    const resource = name === undefined ? resources[0] : resources.find((each) => each.name === name)
    if (resource === undefined || shareWith === undefined || uri === undefined) {
      throw badRequest('share', 'A share needs something to share, somebody to share it with, and an app.')
    }
    lastId += 1
    const identity = { providerId: String(lastId), sharedSecret: newSecret(), bearers: new Set<string>() }
    const places = { uri, davUri: `${url}${drive.pathOf(resource)}`, appName: paired?.appName ?? '' }
    return { ...identity, ...places, resource, owner, shareWith, permissions, targets, expiration, mode }
  }

  /** The answer to the push may name a launch URL of this share’s own. */
  async function provisioned(share: SentShare): Promise<SentShare> {
    if (share.mode === 'self-contained') return share
    const { status, body } = await push('shares', notificationOf(share))
    if (status !== 201) throw new Error(`The Protocol Server did not take the share: ${status} ${JSON.stringify(body)}`)
    const { protocol } = body as { protocol?: { webapp?: { uri?: string } } }
    return { ...share, uri: protocol?.webapp?.uri ?? share.uri }
  }

  /** Offers the targets that the recipient’s server says it can show. */
  async function notifyRecipient(share: SentShare): Promise<void> {
    const { shareWith, resource } = share
    const { endPoint, resourceTypes } = await ocm.discover(authorityOf(shareWith))
    const protocols = resourceTypes.find(({ name }) => name === resource.resourceType)?.protocols
    const receives = protocols?.['webapp-receive']?.targets ?? []
    const targets = share.targets.filter((target) => receives.includes(target))
    if (targets.length === 0) throw new Error(`The cloud of ${shareWith} cannot show this share.`)
    const notification = JSON.stringify(notificationWithSecret({ ...share, targets }))
    const { status, body } = await ocm.send(`${endPoint}/shares`, 'json', notification)
    if (status !== 201) throw new Error(`${shareWith} could not be told: ${status} ${JSON.stringify(body)}`)
  }

  async function share(wish: ShareWish = {}): Promise<SentShare> {
    const made = await provisioned(newShare(wish))
    shares.set(made.providerId, made)
    if (wish.notify === false) return made
    try {
      await notifyRecipient(made)
    } catch (error) {
      await unshare(made.providerId, { notify: false })
      throw error
    }
    return made
  }

  async function unshare(providerId: string, { notify = true } = {}): Promise<void> {
    const share = shares.get(providerId)
    if (share === undefined) throw notFound('no_share', 'There is no such share.')
    shares.delete(providerId)
    try {
      if (share.mode === 'provisioned') await push('revoke', { sender: owner, providerId })
    } finally {
      if (notify) await notifyUnshared(share)
    }
  }

  async function notifyUnshared({ shareWith, providerId, resource: { resourceType } }: SentShare): Promise<void> {
    const { endPoint } = await ocm.discover(authorityOf(shareWith))
    const notification = { message: 'The share has ended.' }
    const body = { notificationType: 'SHARE_UNSHARED', resourceType, providerId, notification }
    await ocm.send(`${endPoint}/notifications`, 'json', JSON.stringify(body))
  }

  /** The Code Flow: a `sharedSecret`, in a request signed by the recipient’s server, for an access token. */
  const exchange: RequestHandler = async (req, res) => {
    const { grant_type, client_id, code } = formOf(req)
    const refuse = (error: string) => void res.status(400).json({ error })
    if (grant_type !== 'authorization_code') return refuse('unsupported_grant_type')
    const share = [...shares.values()].find(({ sharedSecret }) => sharedSecret === code)
    if (share === undefined) return refuse('invalid_grant')
    if (client_id !== authorityOf(share.shareWith)) return refuse('invalid_client')
    await ocm.verify(req, client_id)
    share.bearers.clear()
    const answer = { access_token: await mintToken({ share }), token_type: 'Bearer', expires_in: tokenSeconds }
    res.set('cache-control', 'no-store').json(answer)
  }

  const page = (error?: string) =>
    sendingPage({ brand, owner, resources, contacts, appName: paired?.appName, shares: [...shares.values()], error })

  /** A button of the page: what it does, then the page again. */
  const button =
    (action: (form: Record<string, string>) => Promise<unknown>): RequestHandler =>
    async (req, res) => {
      try {
        await action(formOf(req))
        res.redirect(303, '/')
      } catch (error) {
        sendPage(res.status(502), page((error as Error).message))
      }
    }
  const shareButton = button(({ resource, permission = '', target }) =>
    share({
      ...(resource !== undefined && { resource }),
      permissions: PERMISSIONS[permission] ?? ['view'],
      targets: target === 'blank' ? ['blank'] : ['iframe', 'blank'],
    }),
  )

  app.post('/ocm/token', ocm.observe('token'), exchange)
  app.use('/dav', ocm.observe('webdav'))
  const drive = serveDrive(app, resources, shares)
  serveAssets(app)
  app.get('/', (_req, res) => sendPage(res, page()))
  app.post('/share', ownPagesOnly, shareButton)
  app.post(
    '/unshare',
    ownPagesOnly,
    button(({ providerId = '' }) => unshare(providerId)),
  )
  app.use(answerError)

  return {
    domain,
    url,
    issuer,
    address: owner,
    keys,
    hits: ocm.hits,
    faults: ocm.faults,
    /** Makes the Protocol Server known; until then nothing can be shared. */
    pair(server: ProtocolServer): void {
      paired = server
    },
    shares: () => [...shares.values()],
    /** Pushes a share, then tells the recipient’s server. @throws {Error} when either refuses; then nothing is left of it */
    share,
    /** Pushes the revocation, then tells the recipient’s server. */
    unshare,
    /** The body that `share` pushes. */
    notification: notificationOf,
    /** An access token, with whatever the test makes wrong about it. */
    mintToken,
    provision: (body: object | string, overrides?: SendOverrides) => push('shares', body, overrides),
    revoke: (body: object | string, overrides?: SendOverrides) => push('revoke', body, overrides),
    /** Any signed POST, as this server. */
    send: ocm.send,
    filesOf: drive.textsOf,
    treeOf: drive.treeOf,
    close: ocm.close,
  }
}

const PERMISSIONS: Record<string, readonly Permission[]> = {
  view: ['view'],
  read: ['view', 'read'],
  write: ['view', 'read', 'write'],
}

function discoveryOf(url: string, brand: string) {
  const protocols = { webdav: '/dav/', webapp: {} }
  return {
    provider: brand,
    tokenEndPoint: `${url}/ocm/token`,
    capabilities: ['exchange-token', 'http-sig', 'notifications', 'protocol-object'],
    resourceTypes: ['file', 'folder'].map((name) => ({ name, shareTypes: ['user'], protocols })),
  }
}
