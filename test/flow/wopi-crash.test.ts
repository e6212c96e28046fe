import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { RawResponse } from './harness.ts'
import { until } from './until.ts'
import type { wopiClient } from './wopi-editor.ts'
import { startWopiScene, type WopiScene } from './wopi-scene.ts'
import { type LockingSender, launchAt, type SenderStep, startLockingSender } from './wopi-sender.ts'

const FIRST = 'what was there, of some length'
const TYPED = 'what was typed once, and a little longer'
const BY_ALICE = 'what Alice wrote herself meanwhile, and nobody else'
const BEFORE_IT_IS_RENEWED = 11 * 60
/** From whatever was locked before. */
const MORE_THAN_HALF_AN_HOUR = BEFORE_IT_IS_RENEWED + 31 * 60
const SENDER_STEPS: readonly SenderStep[] = ['GET half', 'PUT half', 'PUT done', 'LOCK done', 'UNLOCK done']

type Client = ReturnType<typeof wopiClient>
type File = ReturnType<LockingSender['newFile']>

/** One person’s document while gateways die. */
interface Round {
  readonly editor: Client
  readonly file: File
  readonly cookie: string
  /** The `LastModifiedTime` that the editor was told. */
  readonly time: string
}

interface Operation {
  readonly name: string
  /** Everything that it writes or changes, one after the other: it is killed after each. */
  readonly steps: readonly string[]
  readonly before?: (round: Round, crashes: Crashes) => Promise<void>
  readonly run: (round: Round) => Promise<RawResponse>
  /** The file is opened, and nothing is asked about it before. */
  readonly first?: true
  /** Somebody else comes half an hour later: nothing that it has left may be in their way. */
  readonly locks?: true
  /** The editor tries again: what it must get. */
  readonly again: readonly number[]
  readonly after: (round: Round, scene: WopiScene) => Promise<void>
}

type Crashes = Awaited<ReturnType<typeof startCrashes>>

/** A gateway that can be told when to die, and what time it is. */
async function startCrashes() {
  const orders = mkdtempSync(join(tmpdir(), 'orders-'))
  onTestFinished(() => rmSync(orders, { recursive: true }))
  const loaded = pathToFileURL(join(import.meta.dirname, 'dies-after.ts'))
  loaded.searchParams.set('orders', orders)
  const [scene, sender] = await Promise.all([
    startWopiScene({ wopi: { proof: 'off' }, editor: { signs: false }, nodeOptions: `--import ${loaded}` }),
    startLockingSender(),
  ])
  const order = (name: string, text: string) => writeFileSync(join(orders, name), text)

  return {
    scene,
    sender,
    async round(): Promise<Round> {
      const file = sender.newFile(FIRST)
      const opened = await launchAt(scene, file.url)
      return { editor: await scene.edit(opened), file, cookie: opened.cookie, time: '' }
    },
    /**
     * Runs something with a gateway that dies at that step.
     *
     * @param expected it comes so far, maybe a moment after its answer
     * @returns whether it came so far
     */
    async dying(step: string, expected: boolean, run: () => Promise<RawResponse>): Promise<boolean> {
      const written = /^write (\d+)$/.exec(step)?.[1]
      if (written !== undefined) order('die-after', written)
      let reached = false
      sender.hooks.during = async (each) => {
        if (each !== step || reached) return
        reached = true
        await scene.gateway.kill()
      }
      const answer = await run()
      if (written !== undefined && expected) await until(`the gateway dies after ${step}`, () => !scene.gateway.alive)
      sender.hooks.during = undefined
      rmSync(join(orders, 'die-after'), { force: true })
      if (written !== undefined) reached = answer.status === 0 || !scene.gateway.alive
      if (!reached) return false
      await scene.gateway.kill()
      await scene.gateway.start()
      return true
    },
    /** It is so much later, at the gateway and at the sender. */
    async later(seconds: number): Promise<void> {
      sender.later(seconds)
      rmSync(join(orders, 'heard'), { force: true })
      order('late', String(seconds))
      process.kill(scene.gateway.pid, 'SIGUSR2')
      await until('the gateway has another time', () => existsSync(join(orders, 'heard')))
    },
  }
}

const collabora = (time: string, more: Record<string, string> = {}) => ({
  'X-COOL-WOPI-Timestamp': time,
  'X-COOL-WOPI-IsAutosave': 'true',
  ...more,
})

const exitSave = { 'X-COOL-WOPI-IsExitSave': 'true' }

async function openAndLock(round: Round): Promise<void> {
  await round.editor.read()
  expect((await round.editor.lock('A')).status).toBe(200)
}

const lockOf = async ({ editor }: Round) => (await editor.call({ override: 'GET_LOCK' })).header('x-wopi-lock')

/** What its person can download. */
async function keptOf({ cookie }: Round, scene: WopiScene): Promise<string[]> {
  const { kept } = (await scene.visit('/office/.ocm/session', { cookie })).json() as { kept: { url: string }[] }
  return Promise.all(kept.map(async ({ url }) => (await scene.visit(url, { cookie })).body.toString('utf8')))
}

async function expectSaved(round: Round, scene: WopiScene): Promise<void> {
  expect(round.file.content()).toBe(TYPED)
  expect(await keptOf(round, scene)).toEqual([])
}

const OPERATIONS: readonly Operation[] = [
  {
    name: 'CheckFileInfo',
    first: true,
    steps: ['write 1', 'write 2'],
    run: ({ editor }) => editor.call(),
    again: [200],
    after: async ({ file }) => expect(file.content()).toBe(FIRST),
  },
  {
    name: 'GetFile',
    first: true,
    steps: ['GET half', 'write 1', 'write 2'],
    run: ({ editor }) => editor.call({ contents: true }),
    again: [200],
    after: async ({ editor }) => expect(await editor.read()).toBe(FIRST),
  },
  {
    name: 'LOCK',
    locks: true,
    steps: ['LOCK done', 'write 1', 'write 2'],
    before: async ({ editor }) => void (await editor.read()),
    run: ({ editor }) => editor.lock('A'),
    again: [200],
    after: async (round, scene) => {
      expect(await lockOf(round)).toBe('A')
      expect(round.file.lock()).toBeDefined()
      expect((await round.editor.save(TYPED, 'A')).status).toBe(200)
      await expectSaved(round, scene)
    },
  },
  {
    name: 'UnlockAndRelock',
    locks: true,
    steps: ['write 1'],
    before: openAndLock,
    run: ({ editor }) => editor.call({ override: 'LOCK', lock: 'B', headers: { 'X-WOPI-OldLock': 'A' } }),
    // It has its new lock already, and is told so.
    again: [200, 409],
    after: async (round, scene) => {
      expect(await lockOf(round)).toBe('B')
      expect((await round.editor.save(TYPED, 'B')).status).toBe(200)
      await expectSaved(round, scene)
    },
  },
  {
    name: 'REFRESH_LOCK',
    steps: ['write 1'],
    before: openAndLock,
    run: ({ editor }) => editor.call({ override: 'REFRESH_LOCK', lock: 'A' }),
    again: [200],
    after: async (round) => expect(await lockOf(round)).toBe('A'),
  },
  {
    name: 'REFRESH_LOCK that renews the lock at the sender',
    locks: true,
    steps: ['LOCK done', 'UNLOCK done', 'write 1', 'write 2'],
    before: async (round, crashes) => {
      await openAndLock(round)
      await crashes.later(BEFORE_IT_IS_RENEWED)
    },
    run: ({ editor }) => editor.call({ override: 'REFRESH_LOCK', lock: 'A' }),
    again: [200],
    after: async (round, scene) => {
      expect(round.file.lock()).toBeDefined()
      expect((await round.editor.save(TYPED, 'A')).status).toBe(200)
      await expectSaved(round, scene)
    },
  },
  {
    name: 'PutFile',
    locks: true,
    steps: ['PUT done', 'PUT half', 'write 1', 'write 2', 'write 3'],
    before: openAndLock,
    run: ({ editor, time }) => editor.save(TYPED, 'A', collabora(time)),
    again: [200],
    after: expectSaved,
  },
  {
    name: 'PutFile of an editor that tells no time',
    steps: ['PUT done', 'PUT half', 'write 1', 'write 2', 'write 3'],
    before: openAndLock,
    run: ({ editor }) => editor.save(TYPED, 'A'),
    again: [200],
    after: expectSaved,
  },
  {
    name: 'PutFile of an editor that closes',
    steps: ['PUT done', 'PUT half', 'write 1', 'write 2', 'write 3', 'write 4', 'write 5', 'write 6', 'write 7'],
    before: openAndLock,
    run: ({ editor, time }) => editor.save(TYPED, 'A', collabora(time, exitSave)),
    again: [200],
    after: expectSaved,
  },
  {
    name: 'PutFile that meets a foreign change',
    steps: ['write 1', 'write 2'],
    before: async (round) => {
      await openAndLock(round)
      round.file.change(BY_ALICE)
    },
    run: ({ editor, time }) => editor.save(TYPED, 'A', collabora(time)),
    again: [409],
    after: async (round, scene) => {
      expect(round.file.content()).toBe(BY_ALICE)
      expect(await keptOf(round, scene)).toContain(TYPED)
    },
  },
  {
    name: 'UNLOCK',
    locks: true,
    steps: ['UNLOCK done', 'write 1', 'write 2'],
    before: openAndLock,
    run: ({ editor }) => editor.unlock('A'),
    // Unlocked already, and told so.
    again: [200, 409],
    after: async (round) => {
      expect(await lockOf(round)).toBe('')
      expect(round.file.lock()).toBeUndefined()
    },
  },
]

/** Each version that anybody was told, with what the file was then: one version never stands for two contents. */
function createVersions({ content }: File) {
  const told = new Map<string, string | undefined>()
  return {
    saw(version: unknown): void {
      if (typeof version !== 'string') return
      if (told.has(version)) expect(told.get(version), `what version ${version} is`).toBe(content())
      told.set(version, content())
    },
    has: (version: string) => told.has(version),
  }
}

/** Somebody else opens the file, half an hour after: nothing that a dead gateway left is in the way. */
async function expectFree({ file }: Round, other: Client): Promise<void> {
  await other.read()
  const locked = await other.lock('another')
  expect([locked.status, locked.header('x-wopi-lockfailurereason')]).toEqual([200, undefined])
  expect((await other.save('by another', 'another')).status).toBe(200)
  expect(file.content()).toBe('by another')
  expect((await other.unlock('another')).status).toBe(200)
  expect(file.lock()).toBeUndefined()
}

describe('kill -9', () => {
  it.each(OPERATIONS)('after every step of $name', { timeout: 240_000 }, async (operation) => {
    const crashes = await startCrashes()
    const { scene } = crashes
    const reached: string[] = []

    async function begin() {
      await crashes.later(0)
      const fresh = await crashes.round()
      const other = await launchAt(scene, fresh.file.url)
      const versions = createVersions(fresh.file)
      const { Version, LastModifiedTime } = operation.first ? {} : await fresh.editor.info()
      versions.saw(Version)
      const round = { ...fresh, time: String(LastModifiedTime) }
      await operation.before?.(round, crashes)
      return { round, versions, other }
    }

    /** @returns whether there is such a step */
    async function dieAfter(step: string): Promise<boolean> {
      const { round, versions } = await begin()
      const expected = operation.steps.includes(step)
      if (!(await crashes.dying(step, expected, () => operation.run(round)))) return false
      versions.saw((await round.editor.info()).Version)
      const again = await operation.run(round)
      expect(operation.again, `${step}: ${again.status} ${again.body}`).toContain(again.status)
      versions.saw(again.header('x-wopi-itemversion'))
      versions.saw((await round.editor.info()).Version)
      await operation.after(round, scene)
      versions.saw((await round.editor.info()).Version)
      return true
    }

    async function dieForGood(step: string): Promise<void> {
      const { round, versions, other: opened } = await begin()
      expect(await crashes.dying(step, true, () => operation.run(round)), step).toBe(true)
      await crashes.later(MORE_THAN_HALF_AN_HOUR)
      const other = await scene.edit(opened)
      versions.saw((await other.info()).Version)
      await expectFree(round, other)
      versions.saw((await other.info()).Version)
    }

    const candidates = [...SENDER_STEPS, ...Array.from({ length: 20 }, (_, index) => `write ${index + 1}`)]
    for (const step of candidates) {
      if (await dieAfter(step)) {
        reached.push(step)
        if (operation.locks) await dieForGood(step)
      } else if (step.startsWith('write')) break
    }
    expect(reached.toSorted()).toEqual(operation.steps.toSorted())
  })
})
