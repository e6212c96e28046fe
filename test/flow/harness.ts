import { request as httpRequest, type IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'
import type { Resource } from '../../src/demo/resources.ts'
import {
  type SendingServer,
  type ShareWish,
  startSendingServer,
  type TokenWish,
} from '../../src/demo/sending-server.ts'
import { type Address, type GatewaySettings, type SettingsAt, startGatewayProcess } from './gateway-process.ts'
import { expectNoSecrets, keepSecret } from './leaks.ts'
import { openConnection, type RawResponse } from './raw-http.ts'
import { type Recorder, startRecorder } from './recorder.ts'

/** The Receiving Party of every test; nothing listens there. */
export const BOB = 'bob@bob.localhost:8443'
export const BOBS_CLOUD = 'http://bob.localhost:8443'

export type HeaderList = Readonly<Record<string, string | readonly string[] | undefined>>

export interface Sent {
  readonly method?: string
  /** Over `Host` and `Connection: close`; `undefined` leaves one out, a list sends one several times. */
  readonly headers?: HeaderList
  readonly body?: string | Buffer
}

/** A request as bytes: the target is not normalised, and `Content-Length` is there when there is a body. */
export function bytesOf({ host }: Address, target: string, { method = 'GET', headers = {}, body }: Sent = {}): Buffer {
  const length = body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }
  const lines = Object.entries({ Host: host, Connection: 'close', ...length, ...headers }).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((each) => `${name}: ${each}\r\n`),
  )
  const head = Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1')
  return Buffer.concat([head, Buffer.from(body ?? '')])
}

/** One request on a connection of its own. What the gateway answers may not hold a secret, but for the cookies it sets. */
export async function send(address: Address, target: string, sent: Sent = {}): Promise<RawResponse> {
  const connection = openConnection(address.port)
  connection.write(bytesOf(address, target, sent))
  const response = await connection.read(sent.method)
  connection.socket.destroy()
  const headers = response.headers.filter(([name]) => name.toLowerCase() !== 'set-cookie')
  expectNoSecrets(`${JSON.stringify(headers)}\n${response.body.toString('latin1')}`, `the answer to ${target}`)
  return response
}

/** A page that a person asks for. */
export const navigation = { accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }

export function form(fields: Readonly<Record<string, string>> | readonly (readonly [string, string])[]): Sent {
  const body = new URLSearchParams(fields as Record<string, string>).toString()
  return { method: 'POST', headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body }
}

export interface LaunchOptions {
  /** Default: the launch address of the webapp `notes`. */
  readonly at?: string
  readonly fields?: Readonly<Record<string, string>>
  readonly headers?: HeaderList
}

export interface Launched {
  readonly response: RawResponse
  readonly status: number
  /** Where the browser is sent. */
  readonly location: string
  /** The `Set-Cookie` line; `''` when the browser has its cookie already. */
  readonly setCookie: string
  /** `name=value`, for a `Cookie` header. */
  readonly cookie: string
}

/** What a Receiving Server makes a browser do: post the token as a form. */
export async function launch(address: Address, token: string, options: LaunchOptions = {}): Promise<Launched> {
  const { at = '/notes/.ocm/open', fields, headers } = options
  const posted = form({ access_token: keepSecret(token), ...fields })
  const response = await send(address, at, { ...posted, headers: { ...posted.headers, ...headers } })
  const setCookie = response.all('set-cookie').find((line) => !/max-age=0/i.test(line)) ?? ''
  const cookie = setCookie.split(';')[0] ?? ''
  keepSecret(cookie.slice(cookie.indexOf('=') + 1))
  return { response, status: response.status, location: response.header('location') ?? '', setCookie, cookie }
}

export interface Opened extends Launched {
  readonly share: Awaited<ReturnType<SendingServer['share']>>
  readonly token: string
}

export type Scene = Awaited<ReturnType<typeof startScene>>

export interface SceneOptions extends Partial<Omit<GatewaySettings, 'webapps' | 'ocmServers'>> {
  /** Over those of the webapp `notes`, or all webapps. */
  readonly webapps?:
    | Record<string, unknown>
    | ((at: Address, app: Recorder, alice: SendingServer) => GatewaySettings['webapps'])
  /** Over those of the pairing with Alice’s cloud. */
  readonly pairing?: Record<string, unknown>
  readonly ocmServers?: GatewaySettings['ocmServers']
  /** What Alice has to share; default: notes. */
  readonly resources?: readonly Resource[]
  /** Seconds that her access tokens live. */
  readonly tokenSeconds?: number
  /** `NODE_OPTIONS` of the gateway. */
  readonly nodeOptions?: string
}

/** Alice’s cloud, an app that records, and a gateway between them that serves it as `notes` at `/notes/`. */
export async function startScene(options: SceneOptions = {}) {
  const { webapps = {}, pairing, ocmServers = [], resources, tokenSeconds, nodeOptions = '', ...rest } = options
  const wished = { ...(resources && { resources }), ...(tokenSeconds && { tokenSeconds }) }
  const [alice, app] = await Promise.all([startSendingServer(wished), startRecorder()])
  const notes = ({ origin }: Address) => ({
    name: 'notes',
    kind: 'generic',
    publicUrl: `${origin}/notes/`,
    upstream: `${app.url}notes/`,
  })
  const settings: SettingsAt = (at) => ({
    ...rest,
    ocmServers: [{ domain: alice.domain, modes: ['provisioned', 'self-contained'], ...pairing }, ...ocmServers],
    webapps: typeof webapps === 'function' ? webapps(at, app, alice) : [{ ...notes(at), ...webapps }],
  })
  const gateway = await startGatewayProcess(settings, { nodeOptions })
  pairWith(alice, gateway)

  const share = async (wish: ShareWish = {}) => {
    const made = await alice.share({ shareWith: BOB, notify: false, ...wish })
    keepSecret(made.sharedSecret)
    return made
  }
  const token = async (wish: TokenWish) => keepSecret(await alice.mintToken(wish))

  return {
    alice,
    app,
    gateway,
    settings,
    /** Alice shares with Bob: pushed, and not announced to anyone. */
    share,
    token,
    /** A new share, opened in a new browser. @throws {Error} unless the launch succeeds */
    async open(wish: ShareWish = {}, launching: LaunchOptions = {}): Promise<Opened> {
      const made = await share(wish)
      const minted = await token({ share: made })
      const launched = await launch(gateway, minted, launching)
      if (launched.status !== 303) throw new Error(`refused: ${launched.status} ${launched.response.body}`)
      return { ...launched, share: made, token: minted }
    },
    send: (target: string, sent?: Sent) => send(gateway, target, sent),
    /** A request with a session’s cookie. */
    visit: (target: string, { cookie }: { cookie: string }, sent: Sent = {}) =>
      send(gateway, target, { ...sent, headers: { cookie, ...sent.headers } }),
    async close(): Promise<void> {
      await gateway.stop()
      await Promise.all([alice.close(), app.close()])
    },
  }
}

export function pairWith(server: SendingServer, { origin }: Address, launchPath = '/notes/.ocm/open'): void {
  server.pair({ integrationApi: `${origin}/ocm`, launchUrl: `${origin}${launchPath}`, appName: 'Notes' })
}

/** A handshake’s outcome. */
export interface Handshake {
  /** 101 when the socket is open. */
  readonly status: number
  readonly socket: WebSocket
  /** Resolves when the socket is closed, however. */
  readonly closed: Promise<void>
  /** Sends a text and waits for the next message. */
  echo(text: string): Promise<string>
}

/** Opens a WebSocket as a page of the app does; `origin: undefined` leaves the header out. */
export function openWebSocket(
  { port, host, origin: own }: Address,
  target: string,
  { cookie, origin = own, headers = {} }: { cookie?: string; origin?: string | null; headers?: Record<string, string> },
): Promise<Handshake> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${target}`, {
    headers: { host, ...(cookie && { cookie }), ...headers },
    ...(origin !== null && { origin }),
  })
  socket.on('error', () => socket.terminate())
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const echo = (text: string) =>
    new Promise<string>((resolve) => {
      socket.once('message', (data) => resolve(String(data)))
      socket.send(text)
    })
  return new Promise((resolve) => {
    const settle = (status: number) => resolve({ status, socket, closed, echo })
    socket.once('open', () => settle(101))
    socket.once('unexpected-response', (_req, res) => {
      res.resume()
      settle(res.statusCode ?? 0)
      socket.terminate()
    })
    socket.once('close', () => settle(0))
  })
}

/** An answer whose body is read as it comes. */
export function stream(
  { port, host }: Address,
  path: string,
  headers: Record<string, string>,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    httpRequest({ port, path, headers: { host, ...headers }, agent: false }, resolve)
      .on('error', reject)
      .end()
  })
}

/** Resolves when an answer has ended, well or not. */
export function ended(response: IncomingMessage): Promise<void> {
  return new Promise((resolve) => void response.once('close', () => resolve()).resume())
}

export type { Address, RawResponse, Recorder }
