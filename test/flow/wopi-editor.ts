import { createSign, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'
import { html, raw } from '../../src/core/html.ts'
import type { Address, RawResponse } from './harness.ts'
import { send } from './harness.ts'
import { keepSecret } from './leaks.ts'

/** The page of an editor as it was asked for. */
export interface OpenedPage {
  readonly method: string
  /** Path and query, raw. */
  readonly target: string
  readonly headers: IncomingMessage['headers']
  readonly form: Readonly<Record<string, string>>
}

export interface Editor {
  readonly url: string
  readonly port: number
  readonly base: string
  /** As they were asked for, the newest last. */
  readonly pages: readonly OpenedPage[]
  /** Method and target of all that came. */
  readonly seen: readonly string[]
  readonly keys: { readonly current: ProofPair; readonly old: ProofPair }
  /** How often it was asked for its discovery. */
  readonly discoveries: number
  /** Takes new keys, as an editor that was installed anew. */
  rekey(): void
  close(): Promise<void>
}

export interface EditorOptions {
  /** What is below the host: `/office/` when the editor has that as its service root. */
  readonly base?: string
  readonly flavour?: 'collabora' | 'onlyoffice'
  /** Publishes keys, and signs what it asks. */
  readonly signs?: boolean
  readonly types?: { readonly edit: readonly string[]; readonly view: readonly string[] }
  /** The page that people see. */
  readonly page?: string
  /** What a page is told over its WebSocket. */
  readonly answer?: (message: string, editor: Editor) => Promise<string>
}

const TICKS_AT_UNIX_EPOCH = 621_355_968_000_000_000n

/** The keys of an editor, as it publishes them and as it signs. */
export function newProofKey() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { n = '', e = '' } = publicKey.export({ format: 'jwk' })
  const base64 = (text: string) => Buffer.from(text, 'base64url').toString('base64')
  return { privateKey, publicKey, modulus: base64(n), exponent: base64(e) }
}

export type ProofPair = ReturnType<typeof newProofKey>

let made: { current: ProofPair; old: ProofPair } | undefined

/** Made once for all editors of a test file: RSA keys take their time. */
function firstKeys() {
  made ??= { current: newProofKey(), old: newProofKey() }
  return made
}

/** 100 ns since the year 1. */
export function ticksOf(date: Date): bigint {
  return BigInt(date.getTime()) * 10_000n + TICKS_AT_UNIX_EPOCH
}

/** What an editor signs: written here once more, after the rule and not after our code. */
export function signProof(key: KeyObject, token: string, url: string, ticks: bigint): string {
  const parts = [Buffer.from(token, 'utf8'), Buffer.from(url.toUpperCase(), 'utf8'), Buffer.alloc(8)]
  parts[2]?.writeBigInt64BE(ticks)
  const sign = createSign('RSA-SHA256')
  for (const part of parts) {
    const length = Buffer.alloc(4)
    length.writeInt32BE(part.length)
    sign.update(length).update(part)
  }
  return sign.sign(key, 'base64')
}

/**
 * An editor as far as a WOPI host and a proxy see it: discovery, a page that takes its token from a form, static files,
 * WebSockets that echo, and the calls that it makes to the host, signed.
 */
export async function startEditor({
  base = '/',
  flavour = 'collabora',
  signs = true,
  types = { edit: ['odt', 'md', 'txt', 'wopitest'], view: ['pdf'] },
  page: shown = '<!doctype html><title>The editor</title>',
  answer = async (message) => `editor: ${message}`,
}: EditorOptions = {}): Promise<Editor> {
  const pages: OpenedPage[] = []
  const seen: string[] = []
  const sockets = new WebSocketServer({ noServer: true })
  let keys = firstKeys()
  let discoveries = 0
  const server = createServer(async (req, res) => {
    const target = req.url ?? ''
    const path = target.split('?')[0] ?? ''
    seen.push(`${req.method} ${target}`)
    if (path === `${base}hosting/discovery`) {
      discoveries += 1
      return void res.setHeader('content-type', 'text/xml').end(discovery())
    }
    if (path === `${base}hosting/capabilities`)
      return void res.setHeader('content-type', 'application/json').end('{"productName":"Test editor"}')
    const isPage = path === `${base}browser/abc123/cool.html` || path.startsWith(`${base}hosting/wopi/`)
    const body = await read(req)
    if (!isPage) return void res.setHeader('cache-control', 'max-age=11059200').end(`static ${path}`)
    const form = Object.fromEntries(new URLSearchParams(body))
    pages.push({ method: req.method ?? '', target, headers: req.headers, form })
    if (form.access_token) keepSecret(form.access_token)
    res.setHeader('content-security-policy', "script-src 'self' 'unsafe-inline'; frame-ancestors collabora.test:*")
    res.setHeader('x-frame-options', 'DENY')
    res.setHeader('cache-control', 'max-age=60')
    res.setHeader('content-type', 'text/html').end(shown)
  })
  server.on('upgrade', (req, socket, head) => {
    seen.push(`UPGRADE ${req.url}`)
    sockets.handleUpgrade(req, socket, head, (ws) =>
      ws.on('message', async (data) => ws.send(await answer(String(data), editor))),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}${base}`

  function discovery(): string {
    const page = (type: string, mode: string) =>
      flavour === 'collabora'
        ? `${url}browser/abc123/cool.html?`
        : `${url}hosting/wopi/${type}/${mode}?<rs=DC_LLCC&><wopisrc=WOPI_SOURCE&>`
    const action = (name: string) => (ext: string) =>
      html`<action name="${name}" ext="${ext}" urlsrc="${page('word', name)}"/>`
    const { current, old } = keys
    const attributes = html`modulus="${current.modulus}" exponent="${current.exponent}" oldmodulus="${old.modulus}" oldexponent="${old.exponent}"`
    return `${raw('<?xml version="1.0"?>')}${html`<wopi-discovery><net-zone name="external-http"><app name="writer">${types.edit.map(action('edit'))}${types.view.map(action('view'))}</app></net-zone>${signs && html`<proof-key ${attributes}/>`}</wopi-discovery>`}`
  }

  const editor: Editor = {
    url,
    port,
    base,
    pages,
    seen,
    get keys() {
      return keys
    },
    get discoveries() {
      return discoveries
    },
    rekey() {
      keys = { current: newProofKey(), old: keys.current }
    },
    async close(): Promise<void> {
      for (const client of sockets.clients) client.terminate()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return editor
}

export interface WopiCall {
  readonly contents?: boolean
  readonly override?: string
  readonly lock?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
  /** Instead of the one that the page got. */
  readonly token?: string
  readonly sign?: boolean
}

/** What an editor knows of a document, and the calls that it makes. */
export function wopiClient(gateway: Address, editor: Editor, { target, form }: OpenedPage) {
  const query = new URLSearchParams(target.slice(target.indexOf('?')))
  const wopiSrc = query.get('WOPISrc') ?? query.get('wopisrc') ?? ''
  const token = form.access_token ?? ''

  async function call(options: WopiCall = {}): Promise<RawResponse> {
    const { contents = false, override, lock, body, sign = true, token: used = token } = options
    const path = `${new URL(wopiSrc).pathname}${contents ? '/contents' : ''}?access_token=${encodeURIComponent(used)}`
    const ticks = ticksOf(new Date())
    const url = new URL(wopiSrc).origin + path
    const proofs = sign && {
      'X-WOPI-TimeStamp': String(ticks),
      'X-WOPI-Proof': signProof(editor.keys.current.privateKey, used, url, ticks),
      'X-WOPI-ProofOld': signProof(editor.keys.old.privateKey, used, url, ticks),
    }
    return send(gateway, path, {
      method: override === undefined ? 'GET' : 'POST',
      headers: {
        Host: new URL(wopiSrc).host,
        Authorization: `Bearer ${used}`,
        ...(override !== undefined && { 'X-WOPI-Override': override }),
        ...(lock !== undefined && { 'X-WOPI-Lock': lock }),
        ...proofs,
        ...options.headers,
      },
      ...(override !== undefined && { body: body ?? '' }),
    })
  }

  return {
    wopiSrc,
    token,
    call,
    info: async () => (await call()).json(),
    read: async () => (await call({ contents: true })).body.toString('utf8'),
    lock: (lock: string) => call({ override: 'LOCK', lock }),
    unlock: (lock: string) => call({ override: 'UNLOCK', lock }),
    save: (body: string | Buffer, lock: string, headers: Record<string, string> = {}) =>
      call({ override: 'PUT', contents: true, lock, body, headers }),
  }
}

async function read(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
