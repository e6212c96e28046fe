import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createKeptBytes } from '../../../../src/apps/wopi/kept-bytes.ts'
import { createMemoryStore } from '../../../../src/store/memory.ts'
import { createSealer } from '../../../../src/trust/sealer.ts'
import { createClock, grantOf } from '../../fixtures.ts'

const KIB = 1024
const bob = grantOf()
const FILE = { name: 'a.odt', by: 'a token' }

function setUp(limits = { size: 2048 * KIB, time: 3600 }) {
  const clock = createClock()
  const store = createMemoryStore({ now: clock.now })
  const sealer = createSealer(generateKeyPairSync('ed25519').privateKey)
  return { clock, store, kept: createKeptBytes({ notes: store.notes, sealer, now: clock.now, limits }) }
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function all(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

describe('bytes that are kept', () => {
  it.each([0, 1, 256 * KIB, 256 * KIB + 1, 1000 * KIB])('come back as they were: %i', async (size) => {
    const { kept } = setUp()
    const bytes = randomBytes(size)
    const spooled = await kept.spool(bob, FILE, inPieces(bytes, 70_001))
    if (!spooled.whole) throw new Error('too large')
    expect(await kept.list(bob)).toEqual([expect.objectContaining({ name: 'a.odt', size })])
    expect((await all(kept.read(spooled.file))).equals(bytes)).toBe(true)
    await kept.dropOf(bob, FILE.by)
    expect(await kept.list(bob)).toEqual([])
  })

  it('beyond the limit are given back whole, and nothing of them stays', async () => {
    const { kept, store } = setUp({ size: 600 * KIB, time: 3600 })
    const bytes = randomBytes(900 * KIB)
    const spooled = await kept.spool(bob, FILE, inPieces(bytes, 70_001))
    if (spooled.whole) throw new Error('it fits')
    expect((await all(spooled.body)).equals(bytes)).toBe(true)
    await spooled.discard()
    expect(await kept.list(bob)).toEqual([])
    expect(await store.notes.list('wopi kept bytes', '', 10)).toEqual([])
  })

  it('count together for one person and share, and not for others', async () => {
    const { kept } = setUp({ size: 300 * KIB, time: 3600 })
    const spool = (grant = bob) => kept.spool(grant, FILE, inPieces(randomBytes(200 * KIB), 5000))
    expect([(await spool()).whole, (await spool()).whole]).toEqual([true, false])
    expect((await spool(grantOf({ user: 'carol@nextcloud2.docker' }))).whole).toBe(true)
    expect((await spool(grantOf({ shareId: '43' }))).whole).toBe(true)
  })

  it('are forgotten after their time', async () => {
    const { kept, clock } = setUp()
    await kept.spool(bob, FILE, inPieces(randomBytes(10), 10))
    clock.advance(3601)
    expect(await kept.list(bob)).toEqual([])
  })

  it('that end midway are nobody’s, and leave nothing in the store', async () => {
    const { kept, store } = setUp()
    async function* broken() {
      yield randomBytes(300 * KIB)
      throw new Error('the editor is gone')
    }
    await expect(kept.spool(bob, FILE, broken())).rejects.toThrow('gone')
    expect(await kept.list(bob)).toEqual([])
    expect(await store.notes.list('wopi kept bytes', '', 10)).toEqual([])
  })

  it('beyond the limit that nobody reads leave nothing in the store', async () => {
    const { kept, store } = setUp({ size: 600 * KIB, time: 3600 })
    const spooled = await kept.spool(bob, FILE, inPieces(randomBytes(900 * KIB), 70_001))
    if (spooled.whole) throw new Error('it fits')
    await spooled.discard()
    expect(await store.notes.list('wopi kept bytes', '', 10)).toEqual([])
  })

  it('of several saves at once are not more than the limit together', async () => {
    const { kept } = setUp({ size: 300 * KIB, time: 3600 })
    const spool = () => kept.spool(bob, FILE, inPieces(randomBytes(200 * KIB), 5000))
    const [one, other] = await Promise.all([spool(), spool()])
    expect([one.whole, other.whole].toSorted()).toEqual([false, true])
    const sizes = (await kept.list(bob)).map(({ size }) => size)
    expect(sizes).toEqual([200 * KIB])
    const late = [one, other].find(({ whole }) => !whole)
    if (late === undefined || late.whole) throw new Error('both fit')
    expect(await all(late.body)).toHaveLength(200 * KIB)
  })

  it('are unreadable in the store', async () => {
    const { kept, store } = setUp()
    await kept.spool(bob, FILE, inPieces(Buffer.from('a secret sentence'), 100))
    const notes = await store.notes.list('wopi kept bytes', '', 10)
    expect(notes).toHaveLength(1)
    expect(notes.some(({ data }) => Buffer.from(data, 'base64url').includes('secret'))).toBe(false)
  })
})
