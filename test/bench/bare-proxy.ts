import { createServer } from 'node:http'
import { type Dispatcher, Pool } from 'undici'

/**
 * What the gateway is built on, alone: Node’s server, undici’s dispatcher, and as many headers in both directions as the
 * gateway sends, but none of its rules. Nobody should run this: it lets everybody in, forwards everything, and stops at
 * nothing. WebSockets are not served.
 */

const [port = '', appPort = ''] = process.argv.slice(2)

/** As many as a generic app gets, and as long. */
const ADDED = [
  ...['x-forwarded-for', '127.0.0.1', 'x-forwarded-proto', 'http'],
  ...['x-forwarded-host', `apps.localhost:${port}`, 'x-forwarded-prefix', '/app'],
  ...['x-ocm-user', 'bob@bob.localhost', 'x-ocm-owner', `alice@127.0.0.1:${port}`],
  ...['x-ocm-sender-domain', `127.0.0.1:${port}`, 'x-ocm-share-id', 'x'.repeat(22)],
  ...['x-ocm-provider-id', 'x'.repeat(22), 'x-ocm-resource-name', 'notebook.ipynb'],
  ...['x-ocm-resource-type', 'file', 'x-ocm-permissions', 'view,read,write', 'x-ocm-assertion', 'x'.repeat(620)],
]
const NOT_FORWARDED = new Set(['host', 'connection', 'cookie'])
const NOT_ANSWERED = new Set(['connection', 'keep-alive'])
const ANSWERED = ['content-security-policy', "frame-ancestors 'self'", 'referrer-policy', 'no-referrer']
const SMALL_BODY_MAX = 16 * 1024

const pool = new Pool(`http://127.0.0.1:${appPort}`, { pipelining: 1, allowH2: false })

createServer({ optimizeEmptyRequests: true }, ({ rawHeaders, url = '', method }, res) => {
  const headers = ['host', `apps.localhost:${port}`]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? ''
    if (!NOT_FORWARDED.has(name.toLowerCase())) headers.push(name, rawHeaders[index + 1] ?? '')
  }
  headers.push(...ADDED)
  let missing = Number.NaN
  pool.dispatch(
    { path: url, method: method as Dispatcher.HttpMethod, headers },
    {
      onRequestStart() {},
      onResponseStart(_controller, status, answered, message) {
        const sent: string[] = []
        for (const name in answered) if (!NOT_ANSWERED.has(name)) sent.push(name, String(answered[name]))
        res.writeHead(status, message, [...sent, ...ANSWERED])
        missing = Number(answered['content-length'])
      },
      onResponseData(_controller, chunk) {
        missing -= chunk.length
        if (missing > 0) res.write(chunk)
        else if (chunk.length > SMALL_BODY_MAX) res.end(chunk)
        else res.end(chunk.toString('latin1'), 'latin1')
      },
      onResponseEnd() {},
      onResponseError: () => res.destroy(),
    },
  )
}).listen(Number(port), '127.0.0.1')
