import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { runCommand } from './command.ts'
import type { LogEvent } from './gateway-process.ts'
import { BOB, launch, openWebSocket, type Scene, send, startScene } from './harness.ts'
import { until } from './until.ts'

const published = JSON.parse(readFileSync('docs/audit.schema.json', 'utf8'))
const schema = z.fromJSONSchema(published)
const names: string[] = published.anyOf.map(({ title }: { title: string }) => title)

const linesOf = (text: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogEvent)
const isAudit = ({ audit }: LogEvent) => audit === true

/** One share from its announcement to its end, everything refused on the way that can be. */
async function wholeStory(scene: Scene): Promise<LogEvent[]> {
  const { gateway, alice } = scene
  const opened = await scene.open({ permissions: ['view', 'read'] })
  await scene.visit('/notes/page', opened)
  await scene.visit('/notes/page', opened, {
    method: 'PUT',
    headers: { Origin: gateway.origin },
    body: 'not allowed',
  })
  await scene.visit('/notes/page', { cookie: '' })
  await launch(gateway, await scene.token({ claims: { aud: BOB, client_id: 'none' } }))
  await send(gateway, '/ocm/shares', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ sender: `alice@${alice.domain}` }),
  })
  const closed = await scene.open()
  await send(gateway, '/ocm/close', {
    method: 'POST',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ access_token: closed.token }).toString(),
  })
  const live = await openWebSocket(gateway, '/notes/live', closed)
  live.socket.terminate()
  await alice.unshare(opened.share.providerId, { notify: false })
  const byHand = await scene.open()
  const { stderr } = await runCommand([
    ...['shares', 'revoke', alice.domain, byHand.share.providerId],
    ...['--config', gateway.configFile],
  ])
  await gateway.event('session.traffic', ({ shareId }) => shareId === opened.share.providerId)
  return [...linesOf(gateway.output.stdout), ...linesOf(stderr)].filter(isAudit)
}

let scene: Scene
let story: LogEvent[]

beforeAll(async () => {
  scene = await startScene()
  story = await wholeStory(scene)
})
afterAll(() => scene.close())

it('every audit event is as the published schema says', () => {
  expect(
    story.flatMap((event) => schema.safeParse(event).error?.issues.map((issue) => ({ event, issue })) ?? []),
  ).toEqual([])
  expect(schema.safeParse({ ...story[0], surprise: 1 }).success).toBe(false)
})

it('the story names who, which share, from which cloud, in which app, how much, and why it ended', () => {
  const first = story.find(({ event }) => event === 'launch.accepted')
  const party = { user: BOB, owner: `alice@${scene.alice.domain}`, senderDomain: scene.alice.domain, webapp: 'notes' }
  expect(first).toMatchObject({ ...party, shareId: expect.any(String), mode: 'provisioned' })
  const ofSession = story.filter(({ session }) => session === first?.session)
  expect(ofSession.find(({ event }) => event === 'session.ended')).toMatchObject({ ...party, reason: 'revoked' })
  const traffic = ofSession.find(({ event }) => event === 'session.traffic')
  expect(traffic).toMatchObject({ ...party, requests: 1 })
  expect(Number(traffic?.bytesOut)).toBeGreaterThan(50)
})

it('what was denied says why', () => {
  const reasons = story
    .filter(({ event }) => event.endsWith('.refused'))
    .map(({ event, reason }) => `${event} ${reason}`)
  expect(reasons).toEqual(
    expect.arrayContaining([
      'request.refused permission_missing',
      'request.refused no_session',
      'launch.refused share_unknown',
      'signature.refused signature_missing',
      'integration.refused signature_missing',
    ]),
  )
})

it('what an operator ended by hand is in what the command tells', () => {
  expect(story.filter(({ event, requestId }) => event === 'share.revoked' && requestId === 'operator')).toHaveLength(1)
})

it('docs/audit.md has every event', () => {
  const page = readFileSync('docs/audit.md', 'utf8')
  expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([])
  expect(story.map(({ event }) => event).filter((event) => !names.includes(event))).toEqual([])
})

it('with audit.pseudonyms nobody is named, and the same person has the same name throughout', async () => {
  const concealing = (at: Parameters<typeof scene.settings>[0]) => ({
    ...scene.settings(at),
    audit: { pseudonyms: true },
  })
  const before = scene.gateway.output.stdout.length
  await scene.gateway.reload(concealing)
  await scene.open()
  await scene.alice.unshare((await scene.open()).share.providerId, { notify: false })
  await until('the end is told', () => scene.gateway.output.stdout.slice(before).includes('session.ended'))
  const told = scene.gateway.output.stdout.slice(before)
  expect(told).not.toContain('bob@')
  expect(told).not.toContain('alice@')
  const users = linesOf(told).flatMap(({ user }) => (user === undefined ? [] : [String(user)]))
  expect(users.length).toBeGreaterThan(2)
  expect(new Set(users).size).toBe(1)
  expect(users[0]).toMatch(/^~[\w-]+@bob\.localhost:8443$/)
})
