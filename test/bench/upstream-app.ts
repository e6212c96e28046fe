import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'
import { APP_BASE } from './workloads.ts'

/** The app behind every proxy, as a process of its own: small answers, a stream of any length, an echo. */

const CHUNK = Buffer.alloc(64 * 1024, 'x')
const BODIES: Record<string, Buffer> = {
  '1k': Buffer.alloc(1024, 'x'),
  '100k': Buffer.alloc(100 * 1024, 'x'),
}

const onRequest: RequestListener = async (req, res) => {
  const url = new URL(req.url ?? '/', 'http://app')
  const name = url.pathname.slice(APP_BASE.length)
  const body = BODIES[name]
  if (body !== undefined) return void res.writeHead(200, headersOf(body.length)).end(body)
  if (name === 'big') return stream(res, Number(url.searchParams.get('bytes') ?? Infinity))
  if (name === 'take') return void res.end(String(await count(req)))
  res.writeHead(404).end()
}

/** What apps usually say of an answer. */
function headersOf(length: number) {
  return {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': length,
    'cache-control': 'no-cache',
    etag: '"b5f6c7d8"',
    'last-modified': 'Thu, 01 Jan 2026 00:00:00 GMT',
  }
}

function stream(res: ServerResponse, bytes: number): void {
  let left = bytes
  const more = () => {
    while (left > 0) {
      const chunk = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK
      left -= chunk.length
      if (!res.write(chunk)) return
    }
    res.off('drain', more).end()
  }
  res.writeHead(200, Number.isFinite(bytes) ? headersOf(bytes) : { 'content-type': 'text/plain' }).on('drain', more)
  more()
}

async function count(req: IncomingMessage): Promise<number> {
  let bytes = 0
  for await (const chunk of req) bytes += (chunk as Buffer).length
  return bytes
}

const server = createServer({ keepAliveTimeout: 120_000 }, onRequest)
new WebSocketServer({ server, path: `${APP_BASE}echo`, perMessageDeflate: false }).on('connection', (socket) =>
  socket.on('message', (data) => socket.send(data, { binary: true })),
)
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
process.once('disconnect', () => process.exit())
