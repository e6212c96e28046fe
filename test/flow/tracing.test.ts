import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { close } from '../../src/demo/listen.ts'
import { runCommand } from './command.ts'
import { openWebSocket, type Scene, startScene } from './harness.ts'
import { until } from './until.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const traceparent = `00-${TRACE}-b7ad6b7169203331-01`
const goesOn = new RegExp(`^00-${TRACE}-(?!b7ad6b7169203331)[0-9a-f]{16}-01$`)

/** Takes what comes by OTLP. */
async function startCollector() {
  const received: { path: string; type: string; body: Buffer }[] = []
  const server = createServer(async (req, res) => {
    received.push({ path: req.url ?? '', type: req.headers['content-type'] ?? '', body: await buffer(req) })
    res.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, received, close: () => close(server) }
}

describe('with the variables of OpenTelemetry', () => {
  let scene: Scene
  let collector: Awaited<ReturnType<typeof startCollector>>

  beforeAll(async () => {
    collector = await startCollector()
    vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', collector.url)
    vi.stubEnv('OTEL_SERVICE_NAME', 'gateway-of-the-test')
    scene = await startScene()
    vi.unstubAllEnvs()
  })
  afterAll(() => collector.close())

  it('requests and WebSockets go on with the caller’s trace, towards the app too', async () => {
    const opened = await scene.open()
    await scene.visit('/notes/traced', opened, { headers: { traceparent } })
    expect(scene.app.last('/notes/traced').headers.traceparent).toMatch(goesOn)
    const { socket } = await openWebSocket(scene.gateway, '/notes/live', {
      cookie: opened.cookie,
      headers: { traceparent },
    })
    expect(scene.app.upgrades.at(-1)?.headers.traceparent).toMatch(goesOn)
    socket.terminate()
    await scene.visit('/notes/fresh', opened)
    expect(scene.app.last('/notes/fresh').headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
  })

  it('spans of what it served and asked go out as OTLP, without a path, a person or a share; all by the end', async () => {
    const { alice } = scene
    expect(await scene.gateway.terminate()).toEqual({ code: 0, by: null })
    await until('spans have come', () => collector.received.length > 0)
    const [first] = collector.received
    expect(first).toMatchObject({ path: '/v1/traces', type: 'application/x-protobuf' })
    const spans = Buffer.concat(collector.received.map(({ body }) => body))
    const told = ['GET app notes', 'GET WebSocket notes', 'POST launch notes', 'POST shares', 'GET notes', 'store ']
    expect([...told, `GET ${alice.domain}`, 'gateway-of-the-test'].filter((text) => !spans.includes(text))).toEqual([])
    expect(spans.includes(Buffer.from(TRACE, 'hex'))).toBe(true)
    expect(['/notes/traced', 'bob@', 'alice@'].filter((text) => spans.includes(text))).toEqual([])
    await Promise.all([scene.alice.close(), scene.app.close()])
    scene.gateway.remove()
  })
})

it('without them the trace of a caller passes through as it is', async () => {
  const scene = await startScene()
  await scene.visit('/notes/', await scene.open(), { headers: { traceparent } })
  expect(scene.app.last('/notes/').headers.traceparent).toBe(traceparent)
  await scene.close()
})

it.each([
  { OTEL_TRACES_EXPORTER: 'jaeger', says: 'OTEL_TRACES_EXPORTER is jaeger (must be otlp or none)' },
  { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', says: 'OTEL_EXPORTER_OTLP_PROTOCOL is grpc (must be http/protobuf)' },
  { OTEL_TRACES_SAMPLER: 'some', says: 'OTEL_TRACES_SAMPLER is some' },
  { OTEL_TRACES_SAMPLER_ARG: '2', says: 'OTEL_TRACES_SAMPLER_ARG is 2' },
])('a variable that cannot be served keeps it from starting: $says', async ({ says, ...variables }) => {
  for (const [name, value] of Object.entries({ OTEL_TRACES_EXPORTER: 'otlp', ...variables })) vi.stubEnv(name, value)
  const { code, stderr } = await runCommand(['serve', '--config', 'config/gateway.yaml'])
  vi.unstubAllEnvs()
  expect([code, stderr]).toEqual([1, expect.stringContaining(says)])
})
