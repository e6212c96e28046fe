import { generateKeyPairSync } from 'node:crypto'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type ErrorRequestHandler, type RequestHandler } from 'express'
import { onTestFinished } from 'vitest'
import { z } from 'zod'
import type { App, AppTools } from '../../../../src/apps/app.ts'
import { wopiOptions } from '../../../../src/apps/wopi/options.ts'
import { wopi } from '../../../../src/apps/wopi/wopi.ts'
import { createFields, webappFields } from '../../../../src/config/schema.ts'
import { createOutbound } from '../../../../src/core/outbound.ts'
import { Secret } from '../../../../src/core/secret.ts'
import type { Clock } from '../../../../src/core/time.ts'
import { makeFile, type Tree, webdav } from '../../../../src/demo/webdav.ts'
import { createResources } from '../../../../src/resources/resources.ts'
import { rowOf } from '../../../../src/sessions/session-cache.ts'
import { createMemoryStore } from '../../../../src/store/memory.ts'
import type { Store } from '../../../../src/store/store.ts'
import { createSealer } from '../../../../src/trust/sealer.ts'
import { startEditor } from '../../../flow/wopi-editor.ts'
import { createClock, createToldEvents, grantOf, sessionOf, shareOf } from '../../fixtures.ts'

export const CONTENT = 'first words'

export interface WopiAnswered {
  readonly status: number
  readonly lock: string | null
  readonly reason: string | null
  readonly version: string | null
  readonly text: string
}

/** The same store as two gateways have it. */
export type OpenStores = (now: Clock) => Promise<readonly [Store, Store]>

const inOneProcess: OpenStores = async (now) => {
  const store = createMemoryStore({ now })
  return [store, store]
}

/**
 * One file at a sender, and two gateways that share a store: their WOPI hosts are real, and so is the WebDAV server.
 *
 * @param before looks at every WebDAV request first, and may answer it
 */
export async function startHosts(
  before: RequestHandler = (_req, _res, next) => next(),
  written: z.input<ReturnType<typeof wopiOptions>> = {},
  openStores: OpenStores = inOneProcess,
) {
  const clock = createClock()
  const stores = await openStores(clock.now)
  const [store] = stores
  const tree: Tree = new Map([['', makeFile(CONTENT)]])
  const dav = await serve(senderOf(tree, before))
  const editor = await startEditor({ base: '/office/', signs: false })
  onTestFinished(() => editor.close())
  const outbound = createOutbound({ insecureLoopback: true })
  onTestFinished(() => outbound.destroy())
  const sealer = createSealer(generateKeyPairSync('ed25519').privateKey)
  const { events, told } = createToldEvents()
  const discover = () => Promise.reject(new Error('nobody asks'))
  const resourcesOf = (its: Store) => createResources({ store: its, sealer, outbound, discover, now: clock.now })
  const share = shareOf({
    name: 'file.odt',
    resourceType: 'file',
    protocol: { name: 'multi', webapp: { permissions: ['write'] }, webdav: { uri: `${dav}/dav/file.odt` } },
  })
  const grant = grantOf({ senderDomain: new URL(dav).host, share })
  const session = sessionOf({ grant, webapp: 'office', scope: '/office/' })
  await store.sessions.open(rowOf(session), { limit: 10 })
  await resourcesOf(store).keepToken(grant, new Secret('bearer'))
  const tools = { outbound, now: clock.now, events, sealer, publicUrl: 'http://gateway.localhost' }

  const bound = new Set<string>()
  const hosts = await Promise.all(stores.map(hostOf))
  const app = hosts[0]?.app
  if (app === undefined) throw new Error('no host')
  const location = (await app.ready(session)) ?? ''

  async function hostOf(its: Store): Promise<{ app: App; url: string }> {
    const own = { ...tools, store: its, resources: resourcesOf(its) }
    const made = wopi.create(webappAt(editor.url, written), own as unknown as AppTools)
    const url = await serve((req, res) => {
      const [path = '', query] = (req.url ?? '').split('?')
      const endWith = (idHash: string) => {
        bound.add(idHash)
        return () => void bound.delete(idHash)
      }
      const call = { path, query: query === undefined ? '' : `?${query}`, requestId: 'r', endWith, countFor: () => {} }
      void made.host?.handle(req, res, call)
    })
    return { app: made, url }
  }

  /** A token, as the editor’s page gets one. */
  async function newToken(): Promise<string> {
    const [rawPath = '', query] = location.split('?')
    const request = { method: 'GET', path: '', rawPath, query: `?${query}`, upgrade: false, headers: {} }
    const intervention = await app?.intervene?.(session, request, () => Promise.reject(new Error('no body')))
    return new URLSearchParams(intervention?.body?.toString()).get('access_token') ?? ''
  }

  const source = new URL(new URLSearchParams(location.split('?')[1]).get('WOPISrc') ?? '').pathname
  const token = await newToken()

  async function call(
    gateway: 0 | 1,
    { override, contents = false, body, headers = {}, as = token }: CallOptions,
  ): Promise<WopiAnswered> {
    const url = `${hosts[gateway]?.url}${source}${contents ? '/contents' : ''}?access_token=${as}`
    const method = override === undefined ? 'GET' : 'POST'
    const overriding = override === undefined ? {} : { 'X-WOPI-Override': override }
    const response = await fetch(url, {
      method,
      headers: { ...overriding, ...headers },
      body: body ?? null,
      duplex: 'half',
    })
    const header = (name: string) => response.headers.get(name)
    return {
      status: response.status,
      lock: header('x-wopi-lock'),
      reason: header('x-wopi-lockfailurereason'),
      version: header('x-wopi-itemversion'),
      text: await response.text(),
    }
  }

  return {
    clock,
    store,
    told,
    /** The sessions whose end cuts a call. */
    bound,
    session,
    app,
    newToken,
    /** What the sender has now. */
    content: () => {
      const file = tree.get('')
      return file === undefined || file === 'folder' ? undefined : file.body.toString()
    },
    change: (text: string) => void tree.set('', makeFile(text)),
    call,
    lock: (gateway: 0 | 1, lock: string, more: Record<string, string> = {}) =>
      call(gateway, { override: 'LOCK', headers: { 'X-WOPI-Lock': lock, ...more } }),
    operate: (gateway: 0 | 1, override: string, lock: string) =>
      call(gateway, { override, headers: { 'X-WOPI-Lock': lock } }),
    read: (gateway: 0 | 1, as?: string) => call(gateway, { contents: true, ...(as && { as }) }),
    save: (
      gateway: 0 | 1,
      body: string,
      lock: string,
      { as, headers = {} }: Pick<CallOptions, 'as' | 'headers'> = {},
    ) =>
      call(gateway, {
        override: 'PUT',
        contents: true,
        body,
        headers: { 'X-WOPI-Lock': lock, ...headers },
        ...(as && { as }),
      }),
  }
}

interface CallOptions {
  readonly override?: string
  readonly contents?: boolean
  readonly body?: string | ReadableStream
  readonly headers?: Readonly<Record<string, string>>
  readonly as?: string
}

function senderOf(tree: Tree, before: RequestHandler): RequestListener {
  const app = express()
  app.use(express.raw({ type: () => true, limit: '100mb' }))
  app.use(before)
  app.use(webdav(() => ({ tree, canWrite: true, root: '/dav/file.odt' })))
  const failing: ErrorRequestHandler = ({ status = 500 }, _req, res, _next) => void res.status(status).end()
  app.use(failing)
  return app
}

function webappAt(upstream: string, written: z.input<ReturnType<typeof wopiOptions>>) {
  const fields = createFields({ baseDir: '/', readSecret: () => new Secret('') })
  const common = z
    .strictObject(webappFields(fields))
    .parse({ name: 'office', publicUrl: 'https://apps.example.org/office/', upstream })
  return { ...common, kind: 'wopi', options: wopiOptions(fields).parse(written) }
}

async function serve(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
