import { mkdtemp, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { systemClock } from '../../src/core/time.ts'
import { close, listen } from '../../src/demo/listen.ts'
import { type NotesApp, startNotesApp } from '../../src/demo/notes-app.ts'
import { loadSigningKey, type SigningKey } from '../../src/trust/signing-key.ts'

interface Message {
  readonly type: string
  readonly text?: string
  readonly people?: { user: string; windows: number }[]
}

let folder: string
let key: SigningKey
let gateway: { server: Server; port: number }
let app: NotesApp

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'notes-'))
  gateway = await listen((_req, res) => void res.end(JSON.stringify(key.jwks)), 0)
  key = await loadSigningKey(join(folder, 'key.json'), `apps.localhost:${gateway.port}`)
  app = await startNotesApp({ gatewayUrl: gatewayUrl(), audience: 'notes', texts: { 'Plan.md': 'one two three' } })
})
afterAll(async () => {
  await Promise.all([app.close(), close(gateway.server), rm(folder, { recursive: true })])
})

const gatewayUrl = () => `http://apps.localhost:${gateway.port}`

/** The headers that the gateway adds for a user of a share. */
async function headersFor(
  user: string,
  { id = '1', permissions = ['view', 'read', 'write'], aud = 'notes', sub = user } = {},
) {
  const share = { id, senderDomain: 'a.example', owner: 'alice@a.example', name: 'Plan.md', permissions }
  const times = { issuedAt: systemClock(), expiresAt: systemClock() + 300 }
  const assertion = await key.signJwt({ iss: gatewayUrl(), aud, sub, share }, times)
  return { 'x-ocm-user': user, 'x-ocm-assertion': assertion }
}

/** An open note: what came over its socket, and a wait for what is still to come. */
async function open(headers: Record<string, string>) {
  const socket = new WebSocket(new URL('live', app.url.replace('http', 'ws')), { headers })
  const messages: Message[] = []
  const wake = new Set<() => void>()
  socket.on('message', (data) => {
    messages.push(JSON.parse(String(data)))
    for (const look of wake) look()
  })
  const until = (wanted: (message: Message) => boolean) =>
    new Promise<Message>((resolve) => {
      const look = () => {
        const found = messages.find(wanted)
        if (found) resolve(found)
      }
      wake.add(look)
      look()
    })
  const type = (version: number, splice: object) => socket.send(JSON.stringify({ version, splice }))
  await until(({ type }) => type === 'note')
  return { messages, until, type, close: () => socket.terminate() }
}

/** What somebody who opens the note now is shown. */
async function textOf(headers: Record<string, string>): Promise<string> {
  const reader = await open(headers)
  reader.close()
  return reader.messages.find(({ type }) => type === 'note')?.text ?? ''
}

describe('who the notes app believes', () => {
  it('shows the note and the user that the gateway’s signature names', async () => {
    const page = await (await fetch(app.url, { headers: await headersFor('bob@b.example') })).text()
    expect(page).toContain('bob@b.example')
    expect(page).toContain('one two three')
  })

  it.each([
    { what: 'no assertion', headers: async () => ({ 'x-ocm-user': 'bob@b.example' }) },
    { what: 'an assertion for another app', headers: () => headersFor('bob@b.example', { aud: 'other' }) },
    { what: 'an assertion about another user', headers: () => headersFor('bob@b.example', { sub: 'eve@b.example' }) },
  ])('refuses $what, on the page and on the socket', async ({ headers }) => {
    const sent: Record<string, string> = await headers()
    const socket = new WebSocket(new URL('live', app.url.replace('http', 'ws')), { headers: sent })
    const refused = new Promise<Error>((resolve) => socket.on('error', resolve))
    expect((await fetch(app.url, { headers: sent })).status).toBe(401)
    expect((await refused).message).toContain('401')
  })
})

describe('a note that several people have open', () => {
  it('keeps both of two changes made at the same time', async () => {
    const headers = await headersFor('bob@b.example', { id: 'both' })
    const [bob, carol] = [await open(headers), await open(await headersFor('carol@c.example', { id: 'both' }))]
    bob.type(0, { at: 0, remove: 3, insert: 'ONE' })
    carol.type(0, { at: 13, remove: 0, insert: ' four' })
    await Promise.all([bob.until(({ type }) => type === 'accepted'), carol.until(({ type }) => type === 'accepted')])
    expect(await textOf(headers)).toBe('ONE two three four')
    bob.close()
    carol.close()
  })

  it('says who is there, and in how many windows', async () => {
    const headers = await headersFor('bob@b.example', { id: 'people' })
    const [one, two] = [await open(headers), await open(headers)]
    const seen = await one.until(({ people }) => people?.[0]?.windows === 2)
    expect(seen.people).toMatchObject([{ user: 'bob@b.example', windows: 2 }])
    one.close()
    two.close()
  })

  it('is not changed by somebody who may not write', async () => {
    const reader = await open(await headersFor('bob@b.example', { id: 'read', permissions: ['view', 'read'] }))
    const writer = await open(await headersFor('carol@c.example', { id: 'read' }))
    reader.type(0, { at: 0, remove: 13, insert: '' })
    writer.type(0, { at: 0, remove: 0, insert: 'zero ' })
    await reader.until(({ type }) => type === 'edit')
    expect(await textOf(await headersFor('dan@d.example', { id: 'read' }))).toBe('zero one two three')
    reader.close()
    writer.close()
  })

  it('is another one for another share', async () => {
    const bob = await open(await headersFor('bob@b.example', { id: 'mine' }))
    bob.type(0, { at: 0, remove: 13, insert: 'mine' })
    await bob.until(({ type }) => type === 'accepted')
    expect(await textOf(await headersFor('bob@b.example', { id: 'yours' }))).toBe('one two three')
    bob.close()
  })
})
