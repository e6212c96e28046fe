import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import express from 'express'
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose'
import { WebSocket, WebSocketServer } from 'ws'
import { z } from 'zod'
import { createOutbound } from '../core/outbound.ts'
import { close, listen } from './listen.ts'
import { NOTES_SCRIPT, NOTES_STYLE, notePage, strangerPage } from './notes-page.ts'
import { sendPage } from './page.ts'
import { applySplice, rebase, type Splice } from './splice.ts'

const MAX_CHARACTERS = 200_000
const MAX_HISTORY = 500
const LIMITS = { timeoutSeconds: 5, maxBytes: 64 * 1024, operatorNamed: true }

export interface NotesAppOptions {
  readonly port?: number
  /** The gateway’s public URL without a trailing slash: the `iss` of its assertions, and where its keys are. */
  readonly gatewayUrl: string
  /** The webapp’s name at the gateway: the `aud` of its assertions. */
  readonly audience: string
  /** What a note starts with, by the name of what was shared. */
  readonly texts?: Readonly<Record<string, string>>
}

const assertion = z.object({
  sub: z.string(),
  share: z.object({
    id: z.string(),
    senderDomain: z.string(),
    owner: z.string(),
    name: z.string(),
    permissions: z.array(z.string()),
  }),
})

/** Who is here, as the gateway’s signature says. */
export type Visitor = z.infer<typeof assertion>['share'] & { readonly user: string }

interface Note {
  text: string
  version: number
  /** The newest changes; the last one made `version`. */
  history: Splice[]
  readonly sockets: Map<WebSocket, Visitor>
}

const edit = z.object({
  version: z.int().nonnegative(),
  splice: z.object({
    at: z.int().nonnegative(),
    remove: z.int().nonnegative(),
    insert: z.string().max(MAX_CHARACTERS),
  }),
})

export type NotesApp = Awaited<ReturnType<typeof startNotesApp>>

/**
 * A small app to put behind the gateway: one note for each share, edited live by everybody who has it open. It knows nobody
 * but through `X-OCM-Assertion`, which it verifies, and has relative links only, so that it works below any path.
 */
export async function startNotesApp({ port: wished = 0, gatewayUrl, audience, texts = {} }: NotesAppOptions) {
  const app = express().disable('x-powered-by')
  const { server, port } = await listen(app, wished)
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 4 * MAX_CHARACTERS })
  const outbound = createOutbound({ insecureLoopback: true })
  const identify = createIdentify({ gatewayUrl, audience, outbound })
  const notes = new Map<string, Note>()

  function noteOf({ senderDomain, id, name }: Visitor): Note {
    const key = JSON.stringify([senderDomain, id])
    const note = notes.get(key) ?? { text: texts[name] ?? `# ${name}\n\n`, version: 0, history: [], sockets: new Map() }
    notes.set(key, note)
    return note
  }

  app.get('/style.css', (_req, res) => void res.type('css').send(NOTES_STYLE))
  app.get('/script.js', (_req, res) => void res.type('js').send(NOTES_SCRIPT))
  app.get('/', async (req, res) => {
    const visitor = await identify(req)
    if (visitor === undefined) return sendPage(res.status(401), strangerPage())
    sendPage(res, notePage({ visitor, text: noteOf(visitor).text, canWrite: canWrite(visitor) }))
  })

  server.on('upgrade', async (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    const visitor = await identify(req)
    if (visitor === undefined) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      return
    }
    sockets.handleUpgrade(req, socket, head, (client) => join(noteOf(visitor), client, visitor))
  })

  return {
    url: `http://127.0.0.1:${port}/`,
    async close(): Promise<void> {
      for (const client of sockets.clients) client.terminate()
      await Promise.all([close(server), outbound.close()])
    },
  }
}

function canWrite({ permissions }: Visitor): boolean {
  return permissions.includes('write')
}

/** Reads `X-OCM-Assertion`: the gateway’s own signature, made for this app, about the user that `X-OCM-User` names. */
function createIdentify({
  gatewayUrl,
  audience,
  outbound,
}: NotesAppOptions & { outbound: ReturnType<typeof createOutbound> }) {
  const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', gatewayUrl), {
    [customFetch]: async (url: string) => {
      const { status, headers, body } = await outbound.request(url, {}, LIMITS)
      return new Response(new Uint8Array(body), { status, headers })
    },
  })
  return async ({ headers }: IncomingMessage): Promise<Visitor | undefined> => {
    try {
      const { payload } = await jwtVerify(String(headers['x-ocm-assertion']), keys, { issuer: gatewayUrl, audience })
      const { sub, share } = assertion.parse(payload)
      return decoded(String(headers['x-ocm-user'])) === sub ? { ...share, user: sub } : undefined
    } catch {
      return undefined
    }
  }
}

/** Header values that are not plain ASCII come percent-encoded. */
function decoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

function join(note: Note, client: WebSocket, visitor: Visitor): void {
  note.sockets.set(client, visitor)
  send(client, { type: 'note', text: note.text, version: note.version })
  announcePeople(note)
  client.on('message', (data) => {
    if (canWrite(visitor)) receive(note, client, String(data))
  })
  client.on('error', () => client.terminate())
  client.on('close', () => {
    note.sockets.delete(client)
    announcePeople(note)
  })
}

function receive(note: Note, client: WebSocket, data: string): void {
  const { success, data: change } = edit.safeParse(parseJson(data))
  if (!success) {
    client.close(1008, 'not an edit')
    return
  }
  const applied = apply(note, change)
  if (applied === undefined) {
    send(client, { type: 'note', text: note.text, version: note.version })
    return
  }
  for (const other of note.sockets.keys()) {
    send(other, { type: other === client ? 'accepted' : 'edit', splice: applied, version: note.version })
  }
}

/** Brings a change up to date with those it has not seen; `undefined` when that cannot be done, or the note would be too long. */
function apply(note: Note, { version, splice }: z.infer<typeof edit>): Splice | undefined {
  const missed = note.version - version
  if (missed < 0 || missed > note.history.length) return undefined
  const since = note.history.slice(note.history.length - missed)
  const applied = since.reduce((mine, theirs) => rebase(mine, theirs, false), splice)
  const text = applySplice(note.text, applied)
  if (text.length > MAX_CHARACTERS) return undefined
  note.text = text
  note.version += 1
  note.history = [...note.history, applied].slice(-MAX_HISTORY)
  return applied
}

function announcePeople(note: Note): void {
  const people = [...new Set([...note.sockets.values()].map(({ user }) => user))].map((user) => ({
    user,
    hue: createHash('sha256').update(user).digest().readUInt16BE() % 360,
    windows: [...note.sockets.values()].filter((visitor) => visitor.user === user).length,
  }))
  for (const client of note.sockets.keys()) send(client, { type: 'people', people })
}

function send(client: WebSocket, message: object): void {
  if (client.readyState === WebSocket.OPEN) client.send(JSON.stringify(message))
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
