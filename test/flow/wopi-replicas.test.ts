import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { startRedis } from '../contract/redis-server.ts'
import { type Address, startGatewayProcess } from './gateway-process.ts'
import type { RawResponse } from './harness.ts'
import { keepSecret } from './leaks.ts'
import { type WopiCall, wopiClient } from './wopi-editor.ts'
import { startWopiScene } from './wopi-scene.ts'
import { launchAt, startLockingSender } from './wopi-sender.ts'

/** Two gateway processes with one public address, one signing key and one Redis; and a sender. */
async function startTwo() {
  const redis = await startRedis()
  onTestFinished(() => redis.stop())
  keepSecret(redis.password)
  const [scene, sender] = await Promise.all([
    startWopiScene({ store: redis.url, wopi: { proof: 'off' } }),
    startLockingSender(),
  ])
  const { origin, host, folder } = scene.gateway
  const signingKeyFile = join(folder, 'signing-key.json')
  const second = await startGatewayProcess(() => ({
    ...scene.settings(scene.gateway),
    server: { publicUrl: origin, signingKeyFile },
  }))
  onTestFinished(async () => {
    if (second.alive) await second.stop()
    else second.remove()
  })
  const addresses: readonly Address[] = [scene.gateway, { origin, host, port: second.port }]

  /** A document of its own, and the same editor of it at each gateway. */
  async function open() {
    const file = sender.newFile('first words')
    const { page } = await scene.edit(await launchAt(scene, file.url))
    const [one, two] = addresses.map((address) => wopiClient(address, scene.editor, page))
    if (one === undefined || two === undefined) throw new Error('there are two')
    return { file, one, two, both: [one, two] as const }
  }
  return { redis, sender, second, open }
}

type Document = Awaited<ReturnType<Awaited<ReturnType<typeof startTwo>>['open']>>

const CALLS: Readonly<Record<string, WopiCall>> = {
  'LOCK A': { override: 'LOCK', lock: 'A' },
  'LOCK B': { override: 'LOCK', lock: 'B' },
  'LOCK A → B': { override: 'LOCK', lock: 'B', headers: { 'X-WOPI-OldLock': 'A' } },
  'REFRESH_LOCK A': { override: 'REFRESH_LOCK', lock: 'A' },
  'UNLOCK A': { override: 'UNLOCK', lock: 'A' },
  'PutFile A': { override: 'PUT', contents: true, lock: 'A', body: 'written under A' },
  PutFile: { override: 'PUT', contents: true, body: 'written without a lock' },
}

const outcomeOf = (answer: RawResponse) => {
  const lock = answer.header('x-wopi-lock')
  return answer.status === 409 ? `409 ${lock}` : String(answer.status)
}

/** The state of the file, what both gateways are asked in the same moment, what they answer (in any order), the lock then. */
const CELLS: readonly [state: string, call: string, answers: readonly string[], after: string][] = [
  ['', 'LOCK A', ['200', '200'], 'A'],
  ['', 'LOCK A → B', ['409 ', '409 '], ''],
  ['', 'REFRESH_LOCK A', ['409 ', '409 '], ''],
  ['', 'UNLOCK A', ['409 ', '409 '], ''],
  ['', 'PutFile', ['409 ', '409 '], ''],
  ['A', 'LOCK A', ['200', '200'], 'A'],
  ['A', 'LOCK A → B', ['200', '409 B'], 'B'],
  ['A', 'REFRESH_LOCK A', ['200', '200'], 'A'],
  ['A', 'UNLOCK A', ['200', '409 '], ''],
  ['A', 'PutFile A', ['200', '200'], 'A'],
  ['A', 'PutFile', ['409 A', '409 A'], 'A'],
  ['X', 'LOCK A', ['409 X', '409 X'], 'X'],
  ['X', 'LOCK A → B', ['409 X', '409 X'], 'X'],
  ['X', 'REFRESH_LOCK A', ['409 X', '409 X'], 'X'],
  ['X', 'UNLOCK A', ['409 X', '409 X'], 'X'],
  ['X', 'PutFile A', ['409 X', '409 X'], 'X'],
  ['X', 'PutFile', ['409 X', '409 X'], 'X'],
]

const lockAt = async (client: Document['one']) => (await client.call({ override: 'GET_LOCK' })).header('x-wopi-lock')

it('two gateway processes: every cell of the lock table, asked of both at once, has one answer', async () => {
  const { open } = await startTwo()
  const documents: Document[] = []
  while (documents.length < CELLS.length) documents.push(await open())
  const outcomes = await Promise.all(
    documents.map(async ({ one, two, both }, index) => {
      const [state = '', call = ''] = CELLS[index] ?? []
      await one.read()
      if (state !== '') expect((await one.lock(state)).status).toBe(200)
      const answers = await Promise.all(both.map((client) => client.call(CALLS[call])))
      const locks = await Promise.all([lockAt(one), lockAt(two)])
      return [state, call, answers.map(outcomeOf).toSorted(), ...new Set(locks)]
    }),
  )
  expect(outcomes).toEqual(CELLS)
})

it('two gateway processes: of two that lock at once, each time one gets it', async () => {
  const { open } = await startTwo()
  const { one, two } = await open()
  await two.read()
  for (let round = 0; round < 10; round += 1) {
    const answers = await Promise.all([one.call(CALLS['LOCK A']), two.call(CALLS['LOCK B'])])
    const winner = answers[0].status === 200 ? 'A' : 'B'
    expect(answers.map(outcomeOf).toSorted()).toEqual(['200', `409 ${winner}`])
    expect((await two.save(`round ${round}`, winner)).status).toBe(200)
    expect((await two.unlock(winner)).status).toBe(200)
  }
})

it('two gateway processes: saves of one file come one after the other, each with a version of its own', async () => {
  const { open, sender } = await startTwo()
  const { file, one, two } = await open()
  const writing = { now: 0, most: 0 }
  sender.hooks.during = async (step) => {
    if (step === 'PUT half') writing.now += 1
    writing.most = Math.max(writing.most, writing.now)
    if (step === 'PUT done') writing.now -= 1
  }
  const first = (await one.call({ contents: true })).header('x-wopi-itemversion')
  await one.lock('A')
  const texts = Array.from({ length: 12 }, (_, index) => `text ${index % 3}`)
  const saved = await Promise.all(texts.map((text, index) => (index % 2 === 0 ? one : two).save(text, 'A')))
  expect(saved.map(({ status }) => status)).toEqual(texts.map(() => 200))
  const versions = [first, ...saved.map((answer) => answer.header('x-wopi-itemversion'))]
  expect(new Set(versions).size).toBe(13)
  expect(writing.most).toBe(1)
  const [here, there] = [await one.info(), await two.info()]
  expect(there.Version).toBe(here.Version)
  expect(versions).toContain(here.Version)
  expect(await two.read()).toBe(file.content())
})

it('a gateway process that is killed in the middle of a save keeps the other from saving for a minute at most', async () => {
  const { open, redis, second, sender } = await startTwo()
  const { file, one, two } = await open()
  await one.read()
  await one.lock('A')
  sender.hooks.during = async (step) => {
    if (step === 'PUT half') await second.kill()
  }
  expect((await two.save('never whole', 'A')).status).toBe(0)
  sender.hooks.during = undefined
  const turns = await redis.admin.keys('ocm:lock wopi save *')
  expect(turns).toHaveLength(1)
  const left = await redis.admin.pttl(turns[0] ?? '')
  expect(left).toBeGreaterThan(0)
  expect(left).toBeLessThanOrEqual(60_000)
  // The minute is over.
  await redis.admin.del(turns)
  expect((await one.save('typed once', 'A')).status).toBe(200)
  expect(file.content()).toBe('typed once')
})
