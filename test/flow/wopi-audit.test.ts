import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { z } from 'zod'
import type { LogEvent } from './gateway-process.ts'
import { BOB } from './harness.ts'
import { RESOURCES, startWopiScene, type WopiScene } from './wopi-scene.ts'

const schema = z.fromJSONSchema(JSON.parse(readFileSync('docs/audit.schema.json', 'utf8')))

const CONTENT = 'first words'

it('the audit tells who opened and saved which document, what was refused, what was kept, and how much went through', async () => {
  const scene = await startWopiScene()
  const editor = await scene.start()
  const { LastModifiedTime } = await editor.info()
  await editor.read()
  await editor.lock('A')
  expect((await editor.save('second words', 'A')).status).toBe(200)
  expect((await editor.lock('B')).status).toBe(409)
  const stale = { 'X-COOL-WOPI-Timestamp': String(LastModifiedTime), 'X-COOL-WOPI-IsAutosave': 'true' }
  changeAtSender(scene)
  expect((await editor.save('third words', 'A', stale)).status).toBe(409)
  expect((await editor.call({ token: 'made-up' })).status).toBe(401)
  await scene.alice.unshare(editor.opened.share.providerId, { notify: false })
  const traffic = await scene.gateway.event('session.traffic')

  const audit = scene.gateway.output.stdout
    .split('\n')
    .filter((line) => line.includes('"audit":true'))
    .map((line) => JSON.parse(line) as LogEvent)
  expect(
    audit.flatMap((event) => schema.safeParse(event).error?.issues.map((issue) => ({ event, issue })) ?? []),
  ).toEqual([])
  const [accepted] = audit.filter(({ event }) => event === 'launch.accepted')
  if (accepted === undefined) throw new Error('nobody was let in')
  const { session, user, owner, shareId, senderDomain, webapp } = accepted
  expect(user).toBe(BOB)
  const party = { session, user, owner, shareId, senderDomain, webapp, document: editor.wopiSrc.slice(-43) }
  const told = (name: string) => audit.filter(({ event }) => event === name)
  expect(told('document.opened')).toMatchObject([{ ...party, bytes: CONTENT.length }])
  expect(told('document.saved')).toMatchObject([{ ...party, bytes: 'second words'.length }])
  expect(told('document.kept')).toMatchObject([{ ...party, reason: 'changed', where: 'store' }])
  expect(told('wopi.refused')).toMatchObject([
    { ...party, operation: 'LOCK', status: 409, reason: 'wopi_409' },
    { ...party, operation: 'PutFile', status: 409, reason: 'wopi_409' },
    { operation: 'unknown', status: 401, reason: 'wopi_token_unknown' },
  ])
  expect(told('wopi.refused')[2]).not.toHaveProperty('user')
  // The page, and six calls of the editor with a token of this session.
  expect(traffic).toMatchObject({ session, requests: 7 })
})

function changeAtSender({ alice, report }: WopiScene): void {
  const resource = RESOURCES.find(({ name }) => name === report)
  if (resource === undefined) throw new Error(report)
  const modified = new Date(Date.now() + 5000)
  alice.treeOf(resource).set('', { body: Buffer.from('by alice'), etag: '"by alice"', modified })
}
