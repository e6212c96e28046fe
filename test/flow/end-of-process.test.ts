import { createHash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { expect, it } from 'vitest'
import { bytesOf, openWebSocket, type Scene, startScene } from './harness.ts'
import { openConnection } from './raw-http.ts'
import { until } from './until.ts'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** The app accepts the WebSocket by hand, so that the test sends its bytes. */
function bareWebSocket({ app }: Scene, path: string): Promise<Duplex> {
  return new Promise((resolve) =>
    app.handshake(path, (req, socket) => {
      const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}${GUID}`).digest('base64')
      const lines = ['HTTP/1.1 101 Switching', 'Upgrade: websocket', 'Connection: Upgrade']
      socket.write(`${[...lines, `Sec-WebSocket-Accept: ${accept}`].join('\r\n')}\r\n\r\n`)
      resolve(socket)
    }),
  )
}

async function end(scene: Scene): Promise<void> {
  await Promise.all([scene.alice.close(), scene.app.close()])
  scene.gateway.remove()
}

it('WebSockets are told that the gateway goes away (1001), and the app hears the browser’s goodbye', async () => {
  const scene = await startScene()
  const { socket, echo } = await openWebSocket(scene.gateway, '/notes/live', await scene.open())
  expect(await echo('before')).toBe('before')
  const [appSide] = scene.app.open
  const codes = Promise.all(
    [socket, appSide].map((each) => new Promise((resolve) => each?.once('close', (code) => resolve(code)))),
  )
  const exit = scene.gateway.terminate()
  expect(await codes).toEqual([1001, 1001])
  expect(await exit).toEqual({ code: 0, by: null })
  await end(scene)
})

it('a message that is under way arrives whole before the goodbye; what follows it does not', async () => {
  const scene = await startScene()
  const accepted = bareWebSocket(scene, '/notes/bare')
  const { socket } = await openWebSocket(scene.gateway, '/notes/bare', await scene.open())
  const received: string[] = []
  socket.on('message', (data) => received.push(String(data)))
  const code = new Promise((resolve) => socket.once('close', resolve))
  const app = await accepted
  // In one piece: when the first message has arrived, so has the half of the second one at the gateway.
  app.write(Buffer.concat([text('whole'), text('halves').subarray(0, 5)]))
  await until('the first message has arrived', () => received.length === 1)

  const exit = scene.gateway.terminate()
  await scene.gateway.event('draining')
  app.write(Buffer.concat([text('halves').subarray(5), text('late')]))
  expect(await code).toBe(1001)
  expect(received).toEqual(['whole', 'halves'])
  expect(await exit).toEqual({ code: 0, by: null })
  await end(scene)
})

/** A short text message as a server sends it (RFC 6455 §5.2). */
function text(message: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, message.length]), Buffer.from(message)])
}

it('during drainDelay it is not ready and goes on, but keeps no connection; an idle one does not hold it up', async () => {
  const scene = await startScene({ server: { drainDelay: '1s', drainTimeout: '30s' } })
  const opened = await scene.open()
  const idle = openConnection(scene.gateway.port)
  idle.write(bytesOf(scene.gateway, '/notes/', { headers: { cookie: opened.cookie, Connection: 'keep-alive' } }))
  expect((await idle.read()).header('connection')).toBe('keep-alive')

  const exit = scene.gateway.terminate()
  await scene.gateway.event('draining')
  expect((await fetch(`${scene.gateway.adminUrl}/readyz`)).status).toBe(503)
  const during = await scene.visit('/notes/', opened, { headers: { Connection: 'keep-alive' } })
  expect([during.status, during.header('connection')]).toEqual([200, 'close'])
  const startedAt = performance.now()
  expect(await exit).toEqual({ code: 0, by: null })
  expect(performance.now() - startedAt).toBeLessThan(10_000)
  await end(scene)
})

it('what is not done by drainTimeout is cut', async () => {
  const scene = await startScene({ server: { drainTimeout: '500ms' } })
  const opened = await scene.open()
  scene.app.answer('/notes/never', () => {})
  const never = scene.visit('/notes/never', opened)
  await until('the app has the request', () => scene.app.requests.some(({ url }) => url === '/notes/never'))
  expect(await scene.gateway.terminate()).toEqual({ code: 0, by: null })
  expect((await never).status).toBe(0)
  await end(scene)
})
