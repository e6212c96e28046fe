import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RawResponse } from './harness.ts'
import { newProofKey, signProof, ticksOf, type WopiCall, type wopiClient } from './wopi-editor.ts'
import { openWopiScene, type WopiScene } from './wopi-scene.ts'
import { createLockingSender, type LockingSender, launchAt } from './wopi-sender.ts'

/**
 * The rules that Microsoft’s validator looks at, case by case and by its names, in our own words. Each case has a document of
 * its own, at a sender whose ETags are hashes: the same bytes have the same ETag. Proofs are required.
 */

type Client = ReturnType<typeof wopiClient>

let scene: WopiScene
let sender: LockingSender
beforeAll(async () => {
  ;[scene, sender] = await Promise.all([openWopiScene({ wopi: { proof: 'require' } }), createLockingSender()])
})
afterAll(async () => {
  await scene?.close()
  sender?.close()
})

const open = async (text = 'some words') => scene.edit(await launchAt(scene, sender.newFile(text).url))

const invalid = { token: 'INVALID' }
const put = (body: string, lock?: string): WopiCall => ({
  override: 'PUT',
  contents: true,
  body,
  ...(lock !== undefined && { lock }),
})
const lock = (value: string): WopiCall => ({ override: 'LOCK', lock: value })
const unlock = (value: string): WopiCall => ({ override: 'UNLOCK', lock: value })
const refresh = (value: string): WopiCall => ({ override: 'REFRESH_LOCK', lock: value })
const relock = (old: string, value: string): WopiCall => ({ ...lock(value), headers: { 'X-WOPI-OldLock': old } })
const getLock: WopiCall = { override: 'GET_LOCK' }
const getFile: WopiCall = { contents: true }

const mismatch = (current: string) => [409, current]
const statusAndLock = (answer: RawResponse) => {
  const held = answer.header('x-wopi-lock')
  return held === undefined ? answer.status : [answer.status, held]
}

/** The calls one after the other, and what they are answered: a status, or a status and the lock. */
async function outcomes(editor: Client, ...calls: readonly WopiCall[]) {
  const answers = []
  for (const call of calls) answers.push(statusAndLock(await editor.call(call)))
  return answers
}

const versionOf = (answer: RawResponse) => answer.header('x-wopi-itemversion')

describe('CheckFileInfoSchema', () => {
  it('FullCheckFileInfoSchema: all that is required is there, of the right type, and nothing is null', async () => {
    const info = await (await open()).info()
    expect(info).toMatchObject({
      BaseFileName: expect.any(String),
      OwnerId: expect.any(String),
      Size: 'some words'.length,
      UserId: expect.any(String),
      UserFriendlyName: expect.any(String),
      Version: expect.any(String),
      SupportsLocks: true,
      SupportsUpdate: true,
    })
    expect(Object.values(info)).not.toContain(null)
    expect(`${info.UserId}${info.OwnerId}`).toMatch(/^[\w-]+$/)
  })

  it('HostUrls: what looks like a URL is an absolute one', async () => {
    const urls = Object.entries(await (await open()).info()).filter(([name]) => /(?:Url|Origin)$/.test(name))
    expect(urls.filter(([, value]) => !URL.canParse(String(value)))).toEqual([])
  })

  it('CheckFileWithInvalidAccessToken', async () => {
    expect([401, 404]).toContain((await (await open()).call(invalid)).status)
  })
})

describe('BaseWopiViewing', () => {
  it('ViewOnlySupport, GetUnlockedFile: who opens a file that nobody has locked gets its bytes', async () => {
    const editor = await open()
    expect((await editor.call()).status).toBe(200)
    const file = await editor.call(getFile)
    expect([file.status, file.body.toString()]).toEqual([200, 'some words'])
  })
})

describe('Locks', () => {
  const cases: readonly [
    name: string,
    calls: readonly WopiCall[],
    answers: readonly (number | (string | number)[])[],
  ][] = [
    ['LockLengthValidation', [lock('1234567890'.repeat(25)), unlock('1234567890'.repeat(25))], [200, 200]],
    ['LockFormatValidation', [lock('{"S":"x","F":4}'), unlock('{"S":"x","F":4}')], [200, 200]],
    ['SuccessfulLockSequence', [lock('A'), refresh('A'), relock('A', 'B'), unlock('B')], [200, 200, 200, 200]],
    [
      'LockMismatchAfterUnlockAndRelockRequest',
      [lock('A'), relock('A', 'B'), unlock('A'), unlock('B')],
      [200, 200, mismatch('B'), 200],
    ],
    ['DoubleLockSequence', [lock('A'), lock('A'), unlock('A')], [200, 200, 200]],
    ['UnlockUnlockedFile', [unlock('A')], [mismatch('')]],
    ['LockMismatchOnLockRequest', [lock('A'), lock('X'), unlock('A')], [200, mismatch('A'), 200]],
    ['LockMismatchOnUnlockRequest', [lock('A'), unlock('X'), unlock('A')], [200, mismatch('A'), 200]],
    ['LockMismatchOnRefreshLockRequest', [lock('A'), refresh('X'), unlock('A')], [200, mismatch('A'), 200]],
    ['LockMismatchOnUnlockAndRelockRequest', [lock('A'), relock('X', 'B'), unlock('A')], [200, mismatch('A'), 200]],
    ['LockMismatchOnPutFileRequest', [lock('A'), put('x', 'X'), unlock('A')], [200, mismatch('A'), 200]],
    ['LockFileWithInvalidAccessToken', [{ ...lock('A'), ...invalid }, getLock], [401, [200, '']]],
    ['UnlockFileWithInvalidAccessToken', [lock('A'), { ...unlock('A'), ...invalid }, unlock('A')], [200, 401, 200]],
  ]

  it.each(cases)('%s', async (_name, calls, answers) => {
    expect(await outcomes(await open(), ...calls)).toEqual(answers)
  })
})

describe('GetLock and ExtendedLockLength', () => {
  const long = '1234567890'.repeat(60)
  it.each([
    ['files.GetLock', [lock('A'), getLock], [200, [200, 'A']]],
    ['files.GetLockAfterChange', [lock('A'), relock('A', 'B'), getLock], [200, 200, [200, 'B']]],
    ['files.GetLockOnUnlockedFile', [lock('A'), unlock('A'), getLock], [200, 200, [200, '']]],
    ['files.ExtendedLockLengthValidation', [lock(long), getLock, unlock(long)], [200, [200, long], 200]],
  ])('%s', async (_name, calls, answers) => {
    const editor = await open()
    expect(await editor.info()).toMatchObject({ SupportsGetLock: true, SupportsExtendedLockLength: true })
    expect(await outcomes(editor, ...calls)).toEqual(answers)
  })
})

describe('EditFlows', () => {
  it('BasicEdit: what was saved is what is read', async () => {
    const editor = await open()
    expect(await editor.info()).toMatchObject({ UserCanWrite: true, SupportsUpdate: true, SupportsLocks: true })
    expect(await outcomes(editor, lock('A'), getFile, put('other words', 'A'), unlock('A'))).toEqual([
      200, 200, 200, 200,
    ])
    expect(await editor.read()).toBe('other words')
  })

  it('EditNoChange: the same bytes are saved too', async () => {
    const editor = await open()
    const calls = [lock('A'), getFile, put('some words', 'A'), unlock('A')]
    expect(await outcomes(editor, ...calls)).toEqual([200, 200, 200, 200])
  })

  it('PutUnlockedFile: a file without a byte is written without a lock', async () => {
    const editor = await open()
    expect(await outcomes(editor, getFile, lock('A'), put('', 'A'), unlock('A'), put('first words'))).toEqual([
      200, 200, 200, 200, 200,
    ])
    expect(await editor.read()).toBe('first words')
  })

  it('PutUnlockedFileNotZeroBytes: any other is not', async () => {
    const editor = await open()
    const calls = [getFile, lock('A'), put('other words', 'A'), unlock('A'), put('lost')]
    expect(await outcomes(editor, ...calls)).toEqual([200, 200, 200, 200, mismatch('')])
    expect(await editor.read()).toBe('other words')
  })

  it('GetPutFileWithInvalidAccessToken', async () => {
    const editor = await open()
    const calls = [
      lock('A'),
      { ...getFile, ...invalid },
      getFile,
      { ...put('x', 'A'), ...invalid },
      put('other words', 'A'),
      unlock('A'),
    ]
    expect(await outcomes(editor, ...calls)).toEqual([200, 401, 200, 401, 200, 200])
  })
})

describe('FileVersion', () => {
  it('files.GetFileReturnsVersion, LockReturnsVersion, UnlockReturnsVersion, LockAndUnlockAfterGetFileReturnsSameVersion', async () => {
    const editor = await open()
    const { Version } = await editor.info()
    const versions = []
    for (const call of [getFile, lock('A'), unlock('A'), getFile]) versions.push(versionOf(await editor.call(call)))
    expect(versions).toEqual([Version, Version, Version, Version])
    expect((await editor.info()).Version).toBe(Version)
  })

  it('files.PutFileReturnsVersion, PutFileReturnsDifferentVersion: also of the same bytes, and CheckFileInfo knows it', async () => {
    const editor = await open()
    const versions = [(await editor.info()).Version]
    await outcomes(editor, getFile, lock('A'))
    for (const text of ['same', 'same', 'some words', 'same'])
      versions.push(versionOf(await editor.call(put(text, 'A'))))
    expect(new Set(versions).size).toBe(5)
    expect(versions).not.toContain(undefined)
    await editor.unlock('A')
    expect((await editor.info()).Version).toBe(versions.at(-1))
  })
})

describe('PutRelativeFileUnsupported', () => {
  it.each([
    ['SuggestedExtension', { 'X-WOPI-SuggestedTarget': '.wopitestx' }],
    ['SuggestedName', { 'X-WOPI-SuggestedTarget': 'other.odt' }],
    ['RelativeName', { 'X-WOPI-RelativeTarget': 'other.odt' }],
    [
      'RelativeNameOverwriteTrueNoEffect',
      { 'X-WOPI-RelativeTarget': 'other.odt', 'X-WOPI-OverwriteRelativeTarget': 'true' },
    ],
    [
      'RelativeNameOverwriteFalseNoEffect',
      { 'X-WOPI-RelativeTarget': 'other.odt', 'X-WOPI-OverwriteRelativeTarget': 'false' },
    ],
    ['ConflictingHeaders', { 'X-WOPI-RelativeTarget': 'other.odt', 'X-WOPI-SuggestedTarget': 'other.odt' }],
  ])('PutRelativeFileUnsupported.%s', async (_name, headers) => {
    const editor = await open()
    expect(await editor.info()).toMatchObject({ UserCanNotWriteRelative: true })
    const call = { override: 'PUT_RELATIVE', headers: { ...headers, 'X-WOPI-Size': '1' }, body: 'x' }
    expect(await outcomes(editor, call)).toEqual([501])
  })
})

describe('ProofKeys', () => {
  const stranger = newProofKey()
  const now = () => ticksOf(new Date())

  it.each([
    ['CurrentValid.OldValid', 'current', 'old', now, 200],
    ['CurrentValid.OldInvalid', 'current', 'stranger', now, 200],
    ['CurrentInvalid.OldValidSignedWithCurrentKey', 'stranger', 'current', now, 200],
    ['CurrentValidSignedWithOldKey.OldInvalid', 'old', 'stranger', now, 200],
    ['CurrentInvalid.OldValidSignedWithOldKey', 'stranger', 'old', now, 500],
    ['CurrentInvalid.OldInvalid', 'stranger', 'stranger', now, 500],
    ['TimestampOlderThan20Min', 'current', 'old', () => ticksOf(new Date('2015-08-17T00:00:00Z')), 500],
  ] as const)('ProofKeys.%s', async (_name, proof, proofOld, ticksNow, status) => {
    const editor = await open()
    const ticks = ticksNow()
    const url = `${editor.wopiSrc}?access_token=${editor.token}`
    const sign = (key: 'current' | 'old' | 'stranger') =>
      signProof({ ...scene.editor.keys, stranger }[key].privateKey, editor.token, url, ticks)
    const headers = {
      'X-WOPI-TimeStamp': String(ticks),
      'X-WOPI-Proof': sign(proof),
      'X-WOPI-ProofOld': sign(proofOld),
    }
    expect(await outcomes(editor, { sign: false, headers })).toEqual([status])
  })
})
