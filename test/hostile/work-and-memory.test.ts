import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type SendingServer, startSendingServer } from '../../src/demo/sending-server.ts'
import {
  BOB,
  bytesOf,
  form,
  launch,
  type Opened,
  openWebSocket,
  pairWith,
  type Scene,
  type Sent,
  startScene,
  stream,
} from '../flow/harness.ts'
import { openConnection } from '../flow/raw-http.ts'
import { until } from '../flow/until.ts'

const MEBIBYTE = 1024 * 1024

let scene: Scene
let opened: Opened

beforeAll(async () => {
  scene = await startScene({
    server: { limits: { requestTimeout: '1s', failuresPerMinute: 100_000 } },
    webapps: { timeouts: { response: '2s' } },
  })
  opened = await scene.open()
})
afterAll(() => scene.close())

/** Resident memory of the gateway, in bytes. */
const memory = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${scene.gateway.pid}/status`, 'utf8'))?.[1]) * 1024

const stillServes = async () => expect((await scene.visit('/notes/alive', opened)).status).toBe(200)

describe('100 MiB body on launch or Integration API', () => {
  it.each([
    { target: '/notes/.ocm/open', type: 'application/x-www-form-urlencoded', limit: 64 * 1024, size: 100 },
    { target: '/ocm/shares', type: 'application/json', limit: 256 * 1024, size: 100 },
    { target: '/ocm/revoke', type: 'application/json', limit: 256 * 1024, size: 10 },
    { target: '/ocm/close', type: 'application/x-www-form-urlencoded', limit: 256 * 1024, size: 10 },
  ])('$target, $size MiB: 413, and the memory stays flat', async ({ target, type, limit, size }) => {
    const post = (length: number) => ({
      method: 'POST',
      headers: { 'Content-Type': type },
      body: Buffer.alloc(length, 'a'),
    })
    const before = memory()
    const connection = openConnection(scene.gateway.port)
    connection.write(bytesOf(scene.gateway, target, post(size * MEBIBYTE)))
    // 0: its time was over before it was all there.
    expect([413, 0]).toContain((await connection.read()).status)
    connection.socket.destroy()
    expect(memory() - before).toBeLessThan(96 * MEBIBYTE)
    expect((await scene.send(target, post(limit + 1))).status).toBe(413)
    expect([400, 401]).toContain((await scene.send(target, post(limit))).status)
  })

  it('in chunks without an end: 413 or cut, and the memory stays flat', async () => {
    const before = memory()
    const connection = openConnection(scene.gateway.port)
    const headers = { ...form({}).headers, 'Transfer-Encoding': 'chunked' }
    connection.write(bytesOf(scene.gateway, '/notes/.ocm/open', { method: 'POST', headers }))
    const chunk = `10000\r\n${'a'.repeat(0x10000)}\r\n`
    for (let sent = 0; sent < 64 && !connection.socket.destroyed; sent++) connection.write(chunk)
    expect([413, 0]).toContain((await connection.read()).status)
    await connection.closed
    connection.socket.destroy()
    expect(memory() - before).toBeLessThan(96 * MEBIBYTE)
    await stillServes()
  })

  it('a compressed body is not unpacked: 415', async () => {
    const headers = { ...form({}).headers, 'Content-Encoding': 'gzip' }
    expect((await scene.send('/notes/.ocm/open', { method: 'POST', headers, body: 'x' })).status).toBe(415)
    const json = { 'Content-Type': 'application/json', 'Content-Encoding': 'br' }
    expect((await scene.send('/ocm/shares', { method: 'POST', headers: json, body: 'x' })).status).toBe(415)
  })
})

describe('deep or huge JSON; `__proto__`, duplicate keys', () => {
  it.each([
    { what: '100,000 lists', body: '['.repeat(100_000) + ']'.repeat(100_000) },
    { what: '40,000 objects', body: `${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}` },
    { what: 'lists that never end', body: '['.repeat(200_000) },
    { what: 'a list', body: '[]' },
    { what: 'null', body: 'null' },
    { what: 'a number beyond all bounds', body: '1e999' },
    { what: 'half a text', body: '{"sender":"' },
    { what: 'no UTF-8', body: Buffer.from([0x7b, 0xff, 0xfe, 0x7d]) },
  ])('$what: 400', async ({ body }) => {
    const response = await scene.send('/ocm/shares', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
    })
    expect(response.status).toBe(400)
    await stillServes()
  })

  it('`__proto__` and `constructor` in a signed share give nobody anything', async () => {
    const share = await scene.share({ mode: 'self-contained', permissions: ['view'] })
    const text = JSON.stringify(scene.alice.notification(share))
    const wide = '{"permissions":["view","write"],"isAdmin":true}'
    const polluted = text
      .replace('"webapp":{', `"webapp":{"__proto__":${wide},"constructor":{"prototype":${wide}},`)
      .replace('{', `{"__proto__":${wide},`)
    expect((await scene.alice.provision(polluted)).status).toBe(201)
    const token = await scene.token({ share, claims: { ocm_ip: undefined } })
    const session = (await scene.visit('/notes/.ocm/session', await launch(scene.gateway, token))).json()
    expect(session.permissions).toEqual(['view'])
    expect((await scene.open({ permissions: ['view'] })).status).toBe(303)
  })

  it('a key given twice counts once, as signed', async () => {
    const share = await scene.share({ mode: 'self-contained' })
    const text = JSON.stringify(scene.alice.notification(share))
    const twice = text.replace('{', '{"sender":"mallory@evil.example",')
    expect((await scene.alice.provision(twice)).status).toBe(201)
    expect((await scene.alice.provision(text.replace(/}$/, ',"sender":"mallory@evil.example"}'))).status).toBe(401)
  })
})

describe('slow loris', () => {
  it('a form that never comes: cut after the request time limit', async () => {
    const connection = openConnection(scene.gateway.port)
    const started = performance.now()
    const headers = { ...form({}).headers, 'Content-Length': '1000' }
    connection.write(bytesOf(scene.gateway, '/notes/.ocm/open', { method: 'POST', headers }))
    const drip = setInterval(() => connection.write('a'), 100)
    await connection.closed
    clearInterval(drip)
    connection.socket.destroy()
    expect(performance.now() - started).toBeLessThan(4000)
  })

  it.each([
    { what: 'headers that never end', bytes: 'GET / HTTP/1.1\r\nHost: x\r\n' },
    { what: 'a connection over which nothing comes', bytes: '' },
  ])('$what: cut after the request time limit', async ({ bytes }) => {
    const connection = openConnection(scene.gateway.port)
    const started = performance.now()
    connection.write(bytes)
    const drip = setInterval(() => bytes !== '' && connection.write('X-A: a\r\n'), 100)
    await connection.closed
    clearInterval(drip)
    connection.socket.destroy()
    expect(performance.now() - started).toBeLessThan(4000)
  })

  it('headers of 100 KiB: 431', async () => {
    expect((await scene.send('/notes/', { headers: { 'X-Large': 'x'.repeat(100 * 1024) } })).status).toBe(431)
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`X-${index}`, '1']))
    expect((await scene.send('/notes/', { headers: many })).status).toBe(431)
  })

  it('a refused handshake whose client does not hang up is closed by us', async () => {
    const connection = openConnection(scene.gateway.port)
    connection.write(bytesOf(scene.gateway, '/notes/live', { headers: { Connection: 'Upgrade', Upgrade: 'h2c' } }))
    expect((await connection.read()).status).toBe(400)
    await connection.closed
    await until(
      'writing to it fails',
      () => {
        if (connection.socket.destroyed) return true
        connection.write('x')
        return false
      },
      5,
    )
  })
})

describe('one Sending Server floods shares or launches', () => {
  let flooded: Scene
  let carol: SendingServer

  beforeAll(async () => {
    carol = await startSendingServer({ host: 'carol.localhost' })
    flooded = await startScene({
      pairing: { limits: { shares: 5, sessions: 3, requestsPerMinute: 30 } },
      ocmServers: [{ domain: carol.domain }],
    })
    pairWith(carol, flooded.gateway)
  })
  afterAll(async () => {
    await flooded.close()
    await carol.close()
  })

  it('per-pairing quotas and rates; the others are not slowed', async () => {
    const template = flooded.alice.notification(await flooded.share())
    const push = async (id: number) =>
      (await flooded.alice.provision({ ...template, providerId: `flood-${id}` })).status
    const pushed: number[] = []
    for (let id = 0; id < 8; id++) pushed.push(await push(id))
    expect(pushed).toEqual([201, 201, 201, 201, 503, 503, 503, 503])

    const token = await flooded.token({ claims: { aud: BOB, client_id: template.providerId } })
    const launches: number[] = []
    for (let count = 0; count < 30; count++) launches.push((await launch(flooded.gateway, token)).status)
    expect(launches.slice(0, 5)).toEqual([303, 303, 303, 503, 503])
    const limited = await launch(flooded.gateway, token)
    expect([limited.status, limited.response.header('retry-after')]).toEqual([429, expect.stringMatching(/^\d+$/)])

    const share = await carol.share({ shareWith: BOB, notify: false })
    expect((await launch(flooded.gateway, await carol.mintToken({ share }))).status).toBe(303)
  })

  it('what does not prove to come from it does not use up its rate', async () => {
    const mallory = await startSendingServer({ host: 'mallory.localhost' })
    pairWith(mallory, flooded.gateway)
    const body = carol.notification(await carol.share({ mode: 'self-contained', shareWith: BOB, notify: false }))
    const forged = await Promise.all(Array.from({ length: 50 }, () => mallory.provision(body)))
    expect(new Set(forged.map(({ status }) => status))).toEqual(new Set([401]))
    expect((await carol.provision(body)).status).toBe(201)
    await mallory.close()
  })
})

describe('response bomb or endless stream from the app', () => {
  it('streamed with backpressure; memory stays flat', async () => {
    let sent = 0
    scene.app.answer('/notes/endless', (_req, res) => {
      const block = Buffer.alloc(MEBIBYTE)
      const pump = () => {
        while (sent < 512 * MEBIBYTE && !res.destroyed) {
          sent += block.length
          if (!res.write(block)) return void res.once('drain', pump)
        }
      }
      res.writeHead(200)
      pump()
    })
    const before = memory()
    const unread = await Promise.all(
      Array.from({ length: 4 }, () => stream(scene.gateway, '/notes/endless', { cookie: opened.cookie })),
    )
    const seen: number[] = []
    await until('the app is held back', () => seen.push(sent) >= 10 && new Set(seen.slice(-10)).size === 1)
    expect(sent).toBeLessThan(100 * MEBIBYTE)
    expect(memory() - before).toBeLessThan(96 * MEBIBYTE)
    for (const response of unread) response.destroy()
    await stillServes()
  })

  it('an answer with endless or malformed headers: 502', async () => {
    scene.app.answer(
      '/notes/headers',
      (_req, res) => void res.socket?.end(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(300_000)}\r\n\r\n`),
    )
    expect((await scene.visit('/notes/headers', opened)).status).toBe(502)
    scene.app.answer(
      '/notes/lf',
      (_req, res) => void res.socket?.end('HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n'),
    )
    expect((await scene.visit('/notes/lf', opened)).status).toBe(502)
    await stillServes()
  })

  it.each([
    ['a status text beyond ASCII', 'HTTP/1.1 200 \u00dcn\u00efc\u00f6de \u2713\r\nContent-Length: 2\r\n\r\nok'],
    ['a status of 600', 'HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nok'],
    ['a status of 099', 'HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok'],
    [
      'informational answers first',
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
    ],
    ['an upgrade nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    ['a header name with a blank', 'HTTP/1.1 200 OK\r\nA B: c\r\nContent-Length: 2\r\n\r\nok'],
    ['a control character in a header', 'HTTP/1.1 200 OK\r\nX-Odd: a\x01b\r\nContent-Length: 2\r\n\r\nok'],
    [
      'a header that is called __proto__',
      'HTTP/1.1 200 OK\r\n__proto__: a\r\nconstructor: b\r\nContent-Length: 2\r\n\r\nok',
    ],
    [
      'an answer to nothing after it',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret',
    ],
  ])('%s: answered, and nothing breaks', async (_what, bytes) => {
    scene.app.answer('/notes/odd', (_req, res) => void res.socket?.end(bytes))
    const response = await scene.visit('/notes/odd', opened)
    expect([200, 502, 600]).toContain(response.status)
    expect(response.body.toString()).not.toContain('secret')
    await stillServes()
    await stillServes()
  })
})

describe('one request that crashes the process', () => {
  /** Reproducible random numbers (mulberry32). */
  function createRandom(seed: number): (below: number) => number {
    let state = seed
    return (below) => {
      state = (state + 0x6d2b79f5) | 0
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
      return ((mixed ^ (mixed >>> 14)) >>> 0) % below
    }
  }

  const PIECES = [
    '\0',
    '\r\n',
    '\n',
    ' ',
    ':',
    ',',
    ';',
    '"',
    '%',
    '%00',
    '%ff',
    '..',
    '/',
    '\\',
    '\xff',
    'A'.repeat(5000),
    '-1',
    '{',
    '=',
    'é',
  ]

  it('fuzzing finds none; an error in one request never ends the process', async () => {
    const random = createRandom(20_261)
    const upgrade = {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    }
    const common = { Cookie: opened.cookie, Origin: scene.gateway.origin }
    const json = {
      'Content-Type': 'application/json',
      'Signature-Input': 'ocm=("@method");created=1;keyid="a#b";tag="ocm"',
      Signature: 'ocm=:AA==:',
      'Content-Digest': 'sha-256=:AA==:',
    }
    const seeds: [string, Sent][] = [
      ['/notes/a?b=c', { headers: common }],
      ['/notes/a', { method: 'PUT', headers: common, body: 'body' }],
      ['/notes/live', { headers: { ...common, ...upgrade } }],
      ['/notes/.ocm/open', form({ access_token: 'eyJhbGciOiJFUzI1NiJ9.e30.AA', access_token_ttl: '1' })],
      ['/notes/.ocm/session', { headers: common }],
      ['/ocm/shares', { method: 'POST', headers: json, body: JSON.stringify({ sender: scene.alice.address }) }],
      ['/ocm/close', form({ access_token: 'x' })],
    ]
    const one = async () => {
      const [target, sent] = seeds[random(seeds.length)] ?? ['/', {}]
      let bytes = bytesOf(scene.gateway, target, sent).toString('latin1')
      for (let change = random(3) + 1; change > 0; change--) {
        const at = random(bytes.length)
        bytes = bytes.slice(0, at) + PIECES[random(PIECES.length)] + bytes.slice(at + random(4))
      }
      const connection = openConnection(scene.gateway.port)
      connection.write(Buffer.from(bytes, 'latin1'))
      if (random(2) === 0) connection.socket.end()
      if (random(4) === 0) connection.socket.destroy()
      else
        await Promise.race([connection.read(), connection.closed, until('an answer', () => false, 0.3).catch(() => {})])
      connection.socket.destroy()
    }
    for (let round = 0; round < 40; round++) await Promise.all(Array.from({ length: 20 }, one))
    expect(scene.gateway.alive).toBe(true)
    expect(scene.gateway.eventsNamed('unexpected')).toEqual([])
    expect(scene.gateway.output.stderr).toBe('')
    await stillServes()
  })
})

describe('app answers a WebSocket handshake with plain HTTP, or hangs', () => {
  const active = async () => {
    const text = await (await fetch(`${scene.gateway.adminUrl}/metrics`)).text()
    return {
      open: Number(/ocm_gateway_websockets_active{webapp="notes"} (\d+)/.exec(text)?.[1] ?? 0),
      failed: [...text.matchAll(/ocm_gateway_upstream_failures_total{[^}]*reason="([a-z_]+)"} (\d+)/g)].map(
        ([, reason]) => reason,
      ),
    }
  }
  const handshake = async (path: string) => (await openWebSocket(scene.gateway, path, opened)).status

  it('released, counted', async () => {
    scene.app.handshake(
      '/notes/plain',
      (_req, socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno'),
    )
    scene.app.handshake('/notes/reset', (_req, socket) => void socket.destroy())
    let released = false
    scene.app.handshake('/notes/hang', (_req, socket) => void socket.once('end', () => (released = true)).resume())

    expect(await handshake('/notes/plain')).toBe(200)
    expect(await handshake('/notes/reset')).toBe(502)
    expect(await handshake('/notes/hang')).toBe(504)
    await until('the app’s connection is released', () => released)
    const { open, failed } = await active()
    expect(open).toBe(0)
    expect(failed).toEqual(expect.arrayContaining(['upstream_no_upgrade', 'upstream_unreachable', 'upstream_timeout']))
  })

  it('released when the client gives up first', async () => {
    let released = false
    let asked = false
    scene.app.handshake('/notes/waiting', (_req, socket) => {
      asked = true
      socket.once('end', () => (released = true)).resume()
    })
    const connection = openConnection(scene.gateway.port)
    const headers = {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    }
    connection.write(
      bytesOf(scene.gateway, '/notes/waiting', {
        headers: { ...headers, Cookie: opened.cookie, Origin: scene.gateway.origin },
      }),
    )
    await until('the app was asked', () => asked)
    connection.socket.resetAndDestroy()
    await until('the app’s connection is released', () => released, 1)
  })
})
