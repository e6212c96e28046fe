import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { asGatewayError, badRequest, GatewayError, notFound, unauthorized } from '../../core/errors.ts'
import type { Events } from '../../core/events.ts'
import type { Clock } from '../../core/time.ts'
import { type Entry, ResourceError, type SharedResource } from '../../resources/resource.ts'
import type { Resources } from '../../resources/resources.ts'
import type { Store } from '../../store/store.ts'
import type { AppHost, HostCall } from '../app.ts'
import { bodyOf, headerOf, sendAnswer, type WopiAnswer } from './answer.ts'
import { checkFileInfo } from './check-file-info.ts'
import type { CheckProof } from './check-proof.ts'
import { type FileStates, lastModifiedOf, versionOf } from './file-state.ts'
import { checkLock, createLockFamily } from './lock-family.ts'
import type { LockOperation } from './locks.ts'
import { type createSaving, refuseTooLarge } from './save.ts'
import { asWopiError } from './upstream.ts'
import { editedBy, type Holder, type WopiTokens } from './wopi-tokens.ts'

/** GetFile without `X-WOPI-MaxExpectedSize`. */
const EXPECTED_MAX = 2 ** 31 - 1

export interface WopiHostParts {
  readonly store: Store
  readonly hostUrl: string
  readonly webapp: string
  readonly maxFileSize: number
  readonly checkProof: CheckProof
  readonly tokens: WopiTokens
  readonly states: FileStates
  readonly resources: Resources
  readonly saving: ReturnType<typeof createSaving>
  readonly events: Events
  readonly now: Clock
}

interface Arrival {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly call: HostCall
  readonly holder: Holder
}

/** What is known of a call so far, for the log. */
interface Told {
  operation: string
  holder?: Holder
}

/** An operation answers by a value, or has streamed its answer already. */
type Operation = (arrival: Arrival) => Promise<WopiAnswer | undefined>

/**
 * The WOPI host: what an editor asks about the files that it has open. Proof first, then the token, then the operation. Bytes
 * stream both ways.
 */
export function createWopiHost(parts: WopiHostParts): AppHost {
  const { store, hostUrl, webapp, maxFileSize, checkProof, tokens, states, resources, saving, events, now } = parts
  const url = `${hostUrl}wopi/`
  const base = new URL(url).pathname
  const locks = createLockFamily({ store, states, hostUrl, now })

  async function fileOf({ url }: Holder, resource: SharedResource): Promise<Entry> {
    const entry = await resource.stat(url)
    if (entry === undefined || entry.isFolder) throw new ResourceError('missing', 'there is no such file')
    return entry
  }

  const getInfo: Operation = async ({ holder }) => {
    const entry = await fileOf(holder, await resources.of(holder.grant))
    const state = await states.read(holder.fileId)
    await tokens.served(holder, entry, { bytes: false })
    const json = checkFileInfo({
      grant: holder.grant,
      name: holder.name,
      size: entry.size ?? 0,
      version: versionOf(entry, state),
      lastModified: lastModifiedOf(entry),
      embedder: holder.session?.frameAncestors[0],
    })
    return { status: 200, json }
  }

  const getFile: Operation = async ({ req, res, call, holder }) => {
    const resource = await resources.of(holder.grant)
    const entry = await fileOf(holder, resource)
    const limit = Math.min(maxFileSize, expectedMax(req))
    if ((entry.size ?? 0) > limit) return { status: 412 }
    const reading = await resource.read(holder.url)
    // Some servers spell the ETag of a GET in another way than that of PROPFIND.
    const same = reading.etag === undefined || reading.etag === entry.etag
    const read = same ? entry : await fileOf(holder, resource)
    const served = read.etag === entry.etag ? entry : reading
    res.writeHead(200, {
      'content-type': 'application/octet-stream',
      'x-wopi-itemversion': versionOf(served, await states.read(holder.fileId)),
      'cache-control': 'no-store',
      ...(reading.size !== undefined && { 'content-length': reading.size }),
    })
    const bytes = served.size ?? entry.size
    const remember = () => tokens.served(holder, { ...served, size: bytes }, { bytes: true })
    await pipeline(beforeItsEnd(upTo(limit, reading.body), remember), res)
    events.documentOpened({ requestId: call.requestId, ...editedBy(holder), bytes })
    return undefined
  }

  const putFile: Operation = async ({ req, call, holder }) => {
    const length = Number(req.headers['content-length'] ?? Number.NaN)
    if (length > maxFileSize) refuseTooLarge()
    return saving({
      requestId: call.requestId,
      holder,
      resource: await resources.of(holder.grant),
      headers: req.headers,
      body: bodyOf(req, { maxBytes: maxFileSize, onTooLarge: refuseTooLarge }),
      size: Number.isNaN(length) ? undefined : length,
    })
  }

  const changeLock =
    (operationOf: (req: IncomingMessage) => LockOperation): Operation =>
    async ({ req, holder }) =>
      locks.change(holder, await resources.of(holder.grant), operationOf(req))

  const getLock: Operation = ({ holder }) => locks.getLock(holder)

  const FILE_OPERATIONS: Readonly<Record<string, Operation>> = {
    LOCK: changeLock(lockOf),
    UNLOCK: changeLock((req) => ({ type: 'unlock', lock: checkLock(headerOf(req.headers, 'x-wopi-lock')) })),
    REFRESH_LOCK: changeLock((req) => ({ type: 'refresh', lock: checkLock(headerOf(req.headers, 'x-wopi-lock')) })),
    GET_LOCK: getLock,
  }

  /** @throws {GatewayError} 400 without an override, 501 for what we do not do */
  function operationFor({ method, headers }: IncomingMessage, contents: boolean): { name: string; run: Operation } {
    if (method === 'GET') return contents ? { name: 'GetFile', run: getFile } : { name: 'CheckFileInfo', run: getInfo }
    const override = headerOf(headers, 'x-wopi-override')
    if (method !== 'POST' || override === undefined)
      throw badRequest('wopi_override_missing', 'X-WOPI-Override says what to do with a file.')
    if (contents && override === 'PUT') return { name: 'PutFile', run: putFile }
    const run = !contents && Object.hasOwn(FILE_OPERATIONS, override) ? FILE_OPERATIONS[override] : undefined
    if (run === undefined) throw new GatewayError(501, 'wopi_unsupported', 'This WOPI host does not do that.')
    return { name: override, run }
  }

  async function respond(req: IncomingMessage, res: ServerResponse, call: HostCall, told: Told) {
    const { fileId, contents } = routeOf(call.path.slice(base.length))
    const token = tokenOf(req, call)
    await checkProof(req, token, new URL(hostUrl).origin + call.path + call.query)
    if (token === undefined) throw unauthorized('wopi_token_missing', 'The access token is missing.')
    const holder = await tokens.holderOf(token.value, fileId, (idHash) => call.endWith(idHash))
    told.holder = holder
    if (holder.session !== undefined) call.countFor(holder.session)
    const { name, run } = operationFor(req, contents)
    told.operation = name
    // An expired session ends its work, and begins none.
    if (holder.session === undefined && name !== 'UNLOCK' && name !== 'PutFile')
      throw unauthorized('wopi_token_ended', 'The session of the access token has ended.')
    return run({ req, res, call, holder })
  }

  return {
    url,
    async handle(req, res, call) {
      const told: Told = { operation: 'unknown' }
      try {
        const answer = await respond(req, res, call, told)
        if (answer === undefined) return
        if (answer.status >= 400) report(call, told, answer.status, `wopi_${answer.status}`)
        await sendAnswer(req, res, answer)
      } catch (thrown) {
        const error = asGatewayError(asWopiError(thrown))
        if (res.headersSent || res.destroyed) return void res.destroy()
        if (error.status === 500 && error.reason === 'internal_error')
          events.unexpected({ requestId: call.requestId, where: 'wopi', err: error.cause })
        report(call, told, error.status, error.reason, error)
        await sendAnswer(req, res, { status: error.status })
      }
    },
  }

  function report(
    { requestId }: HostCall,
    { operation, holder }: Told,
    status: number,
    reason: string,
    error?: GatewayError,
  ): void {
    const facts = error && { message: error.message, detail: error.detail }
    events.wopiRefused({ requestId, webapp, operation, ...(holder && editedBy(holder)), status, reason, ...facts })
  }
}

/** An access token as an editor sent it. */
export interface SentToken {
  /** Decoded. */
  readonly value: string
  /** As spelled in the query. */
  readonly raw: string
}

/** The query is the authority; the header is read when the query has none. */
function tokenOf({ headers }: IncomingMessage, { query }: HostCall): SentToken | undefined {
  const value = new URLSearchParams(query).get('access_token')
  const raw = /[?&]access_token=([^&]*)/.exec(query)?.[1]
  if (value !== null) return { value, raw: raw ?? value }
  const bearer = /^Bearer ([\x21-\x7e]+)$/i.exec(headers.authorization ?? '')?.[1]
  return bearer === undefined ? undefined : { value: bearer, raw: bearer }
}

/** @throws {GatewayError} 404 */
function routeOf(path: string): { fileId: string; contents: boolean } {
  const [, fileId, contents] = /^files\/([A-Za-z0-9_-]{43})(\/contents)?$/.exec(path) ?? []
  if (fileId === undefined) throw notFound('wopi_no_such_file', 'There is no such file.')
  return { fileId, contents: contents !== undefined }
}

/** LOCK with an older lock replaces that one. */
function lockOf({ headers }: IncomingMessage): LockOperation {
  const lock = checkLock(headerOf(headers, 'x-wopi-lock'))
  const old = headerOf(headers, 'x-wopi-oldlock')
  return old ? { type: 'relock', lock, old } : { type: 'lock', lock }
}

/** A sender may send more than it said; half a file is cut, so that it is never taken for a whole one. */
async function* upTo(limit: number, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > limit) throw new ResourceError('refused', 'the file is larger than its sender said')
    yield chunk
  }
}

/** Who has not got the last bytes has not read the file; who has them may save at once. */
async function* beforeItsEnd(
  body: AsyncIterable<Uint8Array>,
  remember: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  let last: Uint8Array | undefined
  for await (const chunk of body) {
    if (last !== undefined) yield last
    last = chunk
  }
  await remember()
  if (last !== undefined) yield last
}

function expectedMax({ headers }: IncomingMessage): number {
  const said = Number(headerOf(headers, 'x-wopi-maxexpectedsize') ?? Number.NaN)
  return Number.isNaN(said) ? EXPECTED_MAX : said
}
