import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { type WebSocket, WebSocketServer } from 'ws'
import { close } from '../../src/demo/listen.ts'
import { keepSecret } from './leaks.ts'

/** A request as the app got it. */
export interface Recorded {
  readonly method: string
  readonly url: string
  /** name, value, name, value, as received. */
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
  readonly trailers: NodeJS.Dict<string>
}

export type Answer = (req: IncomingMessage, res: ServerResponse) => void

export type Recorder = Awaited<ReturnType<typeof startRecorder>>

/**
 * The app behind the gateway: keeps every request and every WebSocket handshake, answers `ok`, and echoes what comes over a
 * WebSocket. A path may be given an answer of its own; then its body is not read before.
 */
export async function startRecorder() {
  const requests: Recorded[] = []
  const upgrades: Recorded[] = []
  const answers = new Map<string, Answer>()
  const handshakes = new Map<string, (req: IncomingMessage, socket: Duplex) => void>()
  const sockets = new WebSocketServer({ noServer: true })
  const open = new Set<WebSocket>()
  const upgraded = new Set<Duplex>()
  const pathOf = (req: IncomingMessage) => (req.url ?? '').replace(/\?.*$/s, '')

  const server = createServer(async (req, res) => {
    const own = answers.get(pathOf(req))
    if (own !== undefined) {
      requests.push(recorded(req, Buffer.alloc(0)))
      return own(req, res)
    }
    try {
      requests.push(recorded(req, await buffer(req)))
      res.writeHead(200, { 'content-type': 'text/plain' }).end('ok')
    } catch {
      // The gateway gave up on the request.
    }
  })
  server.on('upgrade', (req, socket, head) => {
    upgrades.push(recorded(req, head))
    upgraded.add(socket)
    socket.once('close', () => upgraded.delete(socket)).on('error', () => socket.destroy())
    const own = handshakes.get(pathOf(req))
    if (own !== undefined) return own(req, socket)
    sockets.handleUpgrade(req, socket, head, (client) => {
      open.add(client)
      client.on('message', (data, isBinary) => client.send(data, { binary: isBinary }))
      client.on('error', () => client.terminate()).on('close', () => open.delete(client))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  return {
    port,
    url: `http://127.0.0.1:${port}/`,
    requests,
    upgrades,
    /** WebSockets that are open now, as the app sees it. */
    open,
    /** What a path answers instead of `ok`; given to the request’s raw URL path. */
    answer: (path: string, answer: Answer) => void answers.set(path, answer),
    /** What a path does with a handshake instead of accepting it. */
    handshake: (path: string, answer: (req: IncomingMessage, socket: Duplex) => void) =>
      void handshakes.set(path, answer),
    /** The newest request to a path. @throws {Error} when there was none */
    last(path: string): Recorded {
      const found = requests.findLast(({ url }) => url === path || url.startsWith(`${path}?`))
      if (found === undefined) throw new Error(`the app got no request for ${path}`)
      return found
    },
    async close(): Promise<void> {
      for (const socket of upgraded) socket.destroy()
      await close(server)
    },
  }
}

function recorded(req: IncomingMessage, body: Buffer): Recorded {
  const { method = '', url = '', rawHeaders, headers, trailers } = req
  keepSecret(String(headers['x-ocm-assertion'] ?? ''))
  return { method, url, rawHeaders, headers, body, trailers }
}

/** The values of a header in the spelling of its name that is given, as the app got them. */
export function rawValues({ rawHeaders }: Pick<Recorded, 'rawHeaders'>, name: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1] === name)
}
