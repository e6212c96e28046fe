import { createHash } from 'node:crypto'
import type { Request, RequestHandler, Response } from 'express'
import { badRequest, forbidden, GatewayError, notFound } from '../core/errors.ts'
import { html, raw } from '../core/html.ts'
import { bodyOf } from './ocm-server.ts'

export interface StoredFile {
  readonly body: Buffer
  readonly etag: string
  readonly modified: Date
}

/** Files and folders in memory. The root is `''`: a file when that alone is shared, else a folder; other folders end in `/`. */
export type Tree = Map<string, StoredFile | 'folder'>

/** Which tree a request may see, and what it may do there. */
export interface DavAccess {
  readonly tree: Tree
  readonly canWrite: boolean
  /** URL path of the tree's root. */
  readonly root: string
}

const METHODS = 'OPTIONS, GET, HEAD, PROPFIND, PUT, DELETE, MKCOL, MOVE'

export function makeFile(content: string | Buffer): StoredFile {
  const body = Buffer.from(content)
  return { body, etag: `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`, modified: new Date() }
}

/**
 * A WebDAV server over a tree in memory: enough for one that reads a share and writes back to it.
 *
 * @see RFC 4918; RFC 9110 §13.1 for `If-Match` and `If-None-Match`
 *
 * No locks, no COPY, no properties beyond those of `propfind`.
 */
export function webdav(authorize: (req: Request) => DavAccess): RequestHandler {
  return (req, res) => {
    const access = authorize(req)
    const path = pathOf(req.path, access.root)
    const handle = HANDLERS[req.method]
    if (handle === undefined) throw new GatewayError(405, 'method_not_allowed', `WebDAV here knows ${METHODS}.`)
    handle({ ...access, path, req, res })
  }
}

interface Exchange extends DavAccess {
  readonly path: string
  readonly req: Request
  readonly res: Response
}

const HANDLERS: Record<string, (exchange: Exchange) => void> = {
  OPTIONS: ({ res }) => void res.set({ dav: '1', allow: METHODS }).status(200).end(),
  GET: sendFile,
  HEAD: sendFile,
  PROPFIND: propfind,
  PUT: (exchange) => change(exchange, put),
  DELETE: (exchange) => change(exchange, remove),
  MKCOL: (exchange) => change(exchange, makeFolder),
  MOVE: (exchange) => change(exchange, move),
}

function pathOf(urlPath: string, root: string): string {
  const path = decodeURIComponent(urlPath)
  if (path !== root && !path.startsWith(`${root}/`))
    throw notFound('not_found', 'There is nothing shared at this address.')
  return path.slice(root.length).replace(/^\//, '')
}

/** What is at `path`, a folder also when it is asked for without its slash. */
function lookUp(tree: Tree, path: string): { key: string; entry: StoredFile | 'folder' } {
  for (const key of [path, `${path}/`]) {
    const entry = tree.get(key)
    if (entry !== undefined) return { key, entry }
  }
  throw notFound('not_found', 'There is no such file.')
}

function sendFile({ tree, path, req, res }: Exchange): void {
  const { entry } = lookUp(tree, path)
  if (entry === 'folder') throw new GatewayError(405, 'is_folder', 'This is a folder; list it with PROPFIND.')
  res.set({
    etag: entry.etag,
    'last-modified': entry.modified.toUTCString(),
    'content-length': String(entry.body.length),
  })
  res.type('application/octet-stream')
  res.end(req.method === 'HEAD' ? undefined : entry.body)
}

function propfind({ tree, path, root, req, res }: Exchange): void {
  const { key, entry } = lookUp(tree, path)
  const depth = req.headers.depth ?? 'infinity'
  if (depth !== '0' && depth !== '1') throw forbidden('propfind-finite-depth', 'Only Depth 0 and 1 are answered.')
  const children = depth === '0' || entry !== 'folder' ? [] : childrenOf(tree, key)
  const listed = [[key, entry] as const, ...children]
  const responses = listed.map(([name, item]) => {
    const href = (tree.get('') === 'folder' ? `${root}/${name}` : root).split('/').map(encodeURIComponent).join('/')
    return html`<d:response><d:href>${href}</d:href><d:propstat><d:prop>${properties(item)}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>`
  })
  res.status(207).type('application/xml')
  res.send(
    `${raw('<?xml version="1.0" encoding="utf-8"?>')}${html`<d:multistatus xmlns:d="DAV:">${responses}</d:multistatus>`}`,
  )
}

function properties(item: StoredFile | 'folder') {
  if (item === 'folder') return html`<d:resourcetype><d:collection/></d:resourcetype>`
  return html`<d:resourcetype/><d:getcontentlength>${item.body.length}</d:getcontentlength><d:getetag>${item.etag}</d:getetag><d:getlastmodified>${item.modified.toUTCString()}</d:getlastmodified>`
}

function childrenOf(tree: Tree, folder: string) {
  return [...tree].filter(
    ([name]) => name !== folder && name.startsWith(folder) && /^[^/]+\/?$/.test(name.slice(folder.length)),
  )
}

function change(
  exchange: Exchange,
  apply: (exchange: Exchange, existing: StoredFile | 'folder' | undefined) => number,
): void {
  if (!exchange.canWrite) throw forbidden('read_only', 'This share may not be changed.')
  const existing = exchange.tree.get(exchange.path) ?? exchange.tree.get(`${exchange.path}/`)
  checkPreconditions(exchange.req, existing)
  exchange.res.status(apply(exchange, existing)).end()
}

function checkPreconditions(req: Request, existing: StoredFile | 'folder' | undefined): void {
  const etag = existing === 'folder' ? undefined : existing?.etag
  const wanted = req.headers['if-match']
  const unwanted = req.headers['if-none-match']
  const failed =
    (wanted !== undefined && (wanted === '*' ? existing === undefined : wanted !== etag)) ||
    (unwanted !== undefined && (unwanted === '*' ? existing !== undefined : unwanted === etag))
  if (failed) throw new GatewayError(412, 'precondition_failed', 'The file has changed meanwhile.')
}

function put({ tree, path, req, res }: Exchange, existing: StoredFile | 'folder' | undefined): number {
  if (existing === undefined) requireParent(tree, path)
  if (existing === 'folder') throw new GatewayError(405, 'is_folder', 'This is a folder.')
  const file = makeFile(bodyOf(req))
  tree.set(path, file)
  res.set('etag', file.etag)
  return existing === undefined ? 201 : 204
}

function remove({ tree, path }: Exchange): number {
  const { key } = lookUp(tree, path)
  for (const name of within(tree, key)) tree.delete(name)
  return 204
}

function makeFolder({ tree, path }: Exchange, existing: StoredFile | 'folder' | undefined): number {
  if (existing !== undefined) throw new GatewayError(405, 'exists', 'Something of that name exists.')
  const key = path.endsWith('/') ? path : `${path}/`
  requireParent(tree, key)
  tree.set(key, 'folder')
  return 201
}

function move({ tree, path, root, req }: Exchange): number {
  const destination = req.headers.destination
  if (typeof destination !== 'string' || !URL.canParse(destination))
    throw badRequest('destination', 'MOVE needs a Destination URL.')
  const target = pathOf(new URL(destination).pathname, root)
  const { key, entry } = lookUp(tree, path)
  const newKey = entry === 'folder' ? `${target.replace(/\/$/, '')}/` : target
  requireParent(tree, newKey)
  if (newKey === key || newKey.startsWith(`${key}/`))
    throw forbidden('move_into_itself', 'A folder cannot move into itself.')
  const replaced = tree.has(newKey)
  if (replaced && req.headers.overwrite === 'F')
    throw new GatewayError(412, 'precondition_failed', 'The destination exists.')
  for (const name of replaced ? within(tree, newKey) : []) tree.delete(name)
  for (const name of within(tree, key)) {
    const item = tree.get(name)
    tree.delete(name)
    if (item !== undefined) tree.set(newKey + name.slice(key.length), item)
  }
  return replaced ? 204 : 201
}

/** A file alone, or a folder with all that is below it. */
function within(tree: Tree, key: string): string[] {
  return tree.get(key) === 'folder' ? [...tree.keys()].filter((name) => name.startsWith(key)) : [key]
}

function requireParent(tree: Tree, path: string): void {
  const parent = path.replace(/[^/]*\/?$/, '')
  if (tree.get(parent) !== 'folder') throw new GatewayError(409, 'no_parent', 'There is no such folder to put it in.')
}
