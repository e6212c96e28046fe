import { randomBytes, randomUUID } from 'node:crypto'
import type { Request, RequestHandler } from 'express'
import { type JWTPayload, SignJWT } from 'jose'
import { badRequest, notFound, unauthorized } from '../core/errors.ts'
import { parseOcmAddress } from '../core/ocm-address.ts'
import { type Clock, systemClock } from '../core/time.ts'
import type { ServerKey } from './keyring.ts'
import {
  type Answer,
  answerError,
  formOf,
  type OcmServer,
  ownPagesOnly,
  type SendOverrides,
  startOcmServer,
} from './ocm-server.ts'
import { sendPage, serveAssets } from './page.ts'
import { NOTES, type Resource } from './resources.ts'
import { sendingPage } from './sending-page.ts'
import { type DavAccess, makeFile, type Tree, webdav } from './webdav.ts'

export type Permission = 'view' | 'read' | 'write' | 'share'
export type Target = 'iframe' | 'blank'

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
  /** Epoch seconds. */
  readonly expiration?: number
  /** How the Protocol Server learns of it: pushed before, or in the `ocm_ip` claim of its tokens. */
  readonly mode?: 'provisioned' | 'self-contained'
  /** `false`: the recipient’s server is not told. */
  readonly notify?: boolean
}

export interface SentShare extends Required<Omit<ShareWish, 'resource' | 'expiration' | 'notify'>> {
  readonly providerId: string
  readonly sharedSecret: string
  readonly resource: Resource
  readonly owner: string
  readonly expiration: number | undefined
  /** The access tokens that open its files: an exchange makes a new one and ends the older ones, as in Nextcloud. */
  readonly bearers: Set<string>
}

export interface TokenWish {
  readonly share?: SentShare
  /** Over the usual claims; `undefined` leaves one out. */
  readonly claims?: JWTPayload
  readonly header?: { readonly alg?: string; readonly kid?: string | undefined; readonly typ?: string | undefined }
  /** Signs instead of the current key: another of ours, or bytes for HS256. */
  readonly key?: ServerKey | Uint8Array
}

export type SendingServer = Awaited<ReturnType<typeof startSendingServer>>

/**
 * Alice’s cloud: an OCM Sending Server that has a Protocol Server serve its webapp shares.
 *
 * Its tokens are those of current Nextcloud (RFC 9068), its back channel is OCM-IP, and it tells the Protocol Server
 * before it tells the recipient: a share that cannot be pushed is not made.
 */
export async function startSendingServer(options: SendingServerOptions = {}) {
  const {
    port = 0,
    host = 'alice.localhost',
    user = 'alice',
    brand = 'Aurora Cloud',
    now = systemClock,
    contacts = [],
  } = options
  const { resources = NOTES, tokenSeconds = 3600 } = options
  const ocm = await startOcmServer({ host, port, now, discovery: (url) => discoveryOf(url, brand) })
  const { domain, url, issuer } = ocm
  const owner = `${user}@${domain}`
  const shares = new Map<string, SentShare>()
  const trees = new Map(resources.map((resource) => [resource, treeOf(resource)]))
  let paired: ProtocolServer | undefined
  let lastId = 0

  function protocolServer(): ProtocolServer {
    if (paired === undefined) throw new Error(`${brand} is not paired with a Protocol Server`)
    return paired
  }

  /** The share-creation notification; its key order is Nextcloud’s. */
  function notification(share: SentShare, secret: { sharedSecret?: string } = {}) {
    const { resource, permissions, targets, uri } = share
    const requirements = ['must-exchange-token']
    const files = permissions.filter((permission) => permission !== 'view')
    return {
      shareWith: share.shareWith,
      name: resource.name,
      description: resource.description,
      providerId: share.providerId,
      owner,
      ownerDisplayName: displayName(user),
      sender: owner,
      senderDisplayName: displayName(user),
      shareType: 'user',
      resourceType: resource.resourceType,
      ...(share.expiration !== undefined && { expiration: share.expiration }),
      protocol: {
        name: 'multi',
        webdav: {
          uri: `${url}${davRoot(resource)}`,
          permissions: files.length > 0 ? files : ['read'],
          requirements,
          ...secret,
        },
        webapp: {
          uri,
          targets,
          permissions,
          requirements,
          appName: paired?.appName,
          mediaTypes: [resource.mediaType],
          ...secret,
        },
      },
    }
  }

  function davRoot(resource: Resource): string {
    return `/dav/${resources.indexOf(resource) + 1}/${encodeURIComponent(resource.name)}`
  }

  const push = (path: string, body: object | string, overrides?: SendOverrides): Promise<Answer> =>
    ocm.send(
      `${protocolServer().integrationApi}/${path}`,
      'json',
      typeof body === 'string' ? body : JSON.stringify(body),
      overrides,
    )

  /** OCM-IP: the push comes first, and its answer may name a launch URL of this share’s own. */
  async function provisionFirst(share: SentShare): Promise<SentShare> {
    if (share.mode === 'self-contained') return share
    const { status, body } = await push('shares', notification(share))
    if (status !== 201) throw new Error(`the Protocol Server did not take the share: ${status} ${JSON.stringify(body)}`)
    const allocated = (body as { protocol?: { webapp?: { uri?: string } } }).protocol?.webapp?.uri
    return allocated === undefined ? share : { ...share, uri: allocated }
  }

  async function notifyRecipient(share: SentShare): Promise<void> {
    const { endPoint, resourceTypes } = await ocm.discover(authorityOf(share.shareWith))
    const receives =
      resourceTypes.find(({ name }) => name === share.resource.resourceType)?.protocols['webapp-receive']?.targets ?? []
    const targets = share.targets.filter((target) => receives.includes(target))
    if (targets.length === 0)
      throw new Error(`${share.shareWith} cannot be shown webapps as ${share.targets.join(' or ')}`)
    const body = JSON.stringify(notification({ ...share, targets }, { sharedSecret: share.sharedSecret }))
    const answer = await ocm.send(`${endPoint}/shares`, 'json', body)
    if (answer.status !== 201)
      throw new Error(`${share.shareWith} was not told: ${answer.status} ${JSON.stringify(answer.body)}`)
  }

  async function share(wish: ShareWish = {}): Promise<SentShare> {
    const resource = wish.resource === undefined ? resources[0] : resources.find(({ name }) => name === wish.resource)
    const shareWith = wish.shareWith ?? contacts[0]
    if (resource === undefined || shareWith === undefined)
      throw badRequest('share', 'Name something to share, and whom to share it with.')
    lastId += 1
    const {
      permissions = ['view', 'read', 'write'],
      targets = ['iframe', 'blank'],
      mode = 'provisioned',
      expiration,
    } = wish
    const uri = wish.uri ?? protocolServer().launchUrl
    const ids = {
      providerId: String(lastId),
      sharedSecret: randomBytes(24).toString('base64url'),
      bearers: new Set<string>(),
    }
    const made = await provisionFirst({
      ...ids,
      resource,
      owner,
      shareWith,
      permissions,
      targets,
      uri,
      expiration,
      mode,
    })
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
    const body = {
      notificationType: 'SHARE_UNSHARED',
      resourceType,
      providerId,
      notification: { message: 'The share has ended.' },
    }
    await ocm.send(`${endPoint}/notifications`, 'json', JSON.stringify(body))
  }

  async function mintToken({
    share,
    claims = {},
    header = {},
    key = ocm.keys.current,
  }: TokenWish = {}): Promise<string> {
    const issuedAt = Math.floor(now())
    const usual = { iss: issuer, sub: user, iat: issuedAt, exp: issuedAt + tokenSeconds, jti: randomUUID() }
    const signing =
      key instanceof Uint8Array ? { alg: 'HS256', kid: ocm.keys.current.keyid } : { alg: key.alg, kid: key.keyid }
    const token = await new SignJWT({ ...usual, ...(share && claimsOf(share)), ...claims })
      .setProtectedHeader({ typ: 'at+jwt', ...signing, ...header })
      .sign(key instanceof Uint8Array ? key : key.key)
    share?.bearers.add(token)
    return token
  }

  function claimsOf(share: SentShare): JWTPayload {
    const claims = { aud: share.shareWith, client_id: share.providerId }
    if (share.mode === 'provisioned') return claims
    const { protocol, providerId, resourceType, name, shareType, expiration } = notification(share)
    return { ...claims, ocm_ip: { protocol, providerId, resourceType, name, shareType, expiration } }
  }

  function davAccess(req: Request): DavAccess {
    const token = /^Bearer (.+)$/i.exec(req.headers.authorization ?? '')?.[1] ?? ''
    const share = [...shares.values()].find(({ bearers }) => bearers.has(token))
    const tree = share && trees.get(share.resource)
    if (share === undefined || tree === undefined)
      throw unauthorized('invalid_token', 'The token opens nothing here (any more).')
    return { tree, canWrite: share.permissions.includes('write'), root: decodeURIComponent(davRoot(share.resource)) }
  }

  ocm.app.post(
    '/ocm/token',
    ocm.observe('token'),
    exchangeSecrets(ocm, shares, async (share) => {
      share.bearers.clear()
      return { access_token: await mintToken({ share }), token_type: 'Bearer', expires_in: tokenSeconds }
    }),
  )
  ocm.app.use('/dav', ocm.observe('webdav'))
  ocm.app.all('/dav/*path', webdav(davAccess))
  serveAssets(ocm.app)
  addPages()
  ocm.app.use(answerError)

  function addPages(): void {
    const page = (error?: string) =>
      sendingPage({ brand, owner, resources, contacts, appName: paired?.appName, shares: [...shares.values()], error })
    const press = (action: (form: Record<string, string>) => Promise<unknown>): RequestHandler[] => [
      ownPagesOnly,
      async (req, res) => {
        try {
          await action(formOf(req))
          res.redirect(303, '/')
        } catch (error) {
          sendPage(res.status(502), page((error as Error).message))
        }
      },
    ]
    ocm.app.get('/', (_req, res) => sendPage(res, page()))
    ocm.app.post(
      '/share',
      press(({ resource, permission, target }) =>
        share({
          resource,
          permissions: PERMISSIONS[permission ?? ''] ?? ['view'],
          targets: target === 'blank' ? ['blank'] : ['iframe', 'blank'],
        }),
      ),
    )
    ocm.app.post(
      '/unshare',
      press(({ providerId = '' }) => unshare(providerId)),
    )
  }

  return {
    domain,
    url,
    issuer,
    address: owner,
    keys: ocm.keys,
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
    /** The body that `share` pushes: no secret in it. */
    notification: (share: SentShare) => notification(share),
    /** An access token, with whatever the test makes wrong about it. */
    mintToken,
    provision: (body: object | string, overrides?: SendOverrides) => push('shares', body, overrides),
    revoke: (body: object | string, overrides?: SendOverrides) => push('revoke', body, overrides),
    /** Any signed POST, as this server. */
    send: ocm.send,
    /** What WebDAV has now of a resource, as text by path. */
    filesOf: (resource: Resource) => textsOf(trees.get(resource)),
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

/** The Code Flow: a `sharedSecret`, in a request signed by the recipient’s server, for an access token. */
function exchangeSecrets(
  ocm: OcmServer,
  shares: Map<string, SentShare>,
  answer: (share: SentShare) => Promise<object>,
): RequestHandler {
  return async (req, res) => {
    const { grant_type, client_id, code } = formOf(req)
    if (grant_type !== 'authorization_code') return void res.status(400).json({ error: 'unsupported_grant_type' })
    const share = [...shares.values()].find(({ sharedSecret }) => sharedSecret === code)
    if (share === undefined) return void res.status(400).json({ error: 'invalid_grant' })
    if (client_id !== authorityOf(share.shareWith)) return void res.status(400).json({ error: 'invalid_client' })
    await ocm.verify(req, client_id)
    res.set('cache-control', 'no-store').json(await answer(share))
  }
}

function authorityOf(address: string): string {
  const authority = parseOcmAddress(address)?.authority
  if (authority === undefined) throw badRequest('address', `${address} is not an OCM address.`)
  return authority
}

function treeOf({ resourceType, files }: Resource): Tree {
  const tree: Tree = new Map(resourceType === 'folder' ? [['', 'folder']] : [])
  for (const [path, text] of Object.entries(files)) tree.set(path, makeFile(text))
  return tree
}

function textsOf(tree: Tree = new Map()): Record<string, string> {
  return Object.fromEntries(
    [...tree].flatMap(([path, entry]) => (entry === 'folder' ? [] : [[path, entry.body.toString('utf8')]])),
  )
}

function displayName(user: string): string {
  return user.charAt(0).toUpperCase() + user.slice(1)
}
