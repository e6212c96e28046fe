import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from '../../core/time.ts'
import type { Grant } from '../../shares/grant.ts'
import type { NoteStore } from '../../store/store.ts'
import type { Sealer } from '../../trust/sealer.ts'

/** Something that could not be saved, as its person may see it. */
export interface KeptFile {
  readonly id: string
  readonly name: string
  /** Hash of the WOPI token that it came with. */
  readonly by: string
  /** Bytes. */
  readonly size: number
  /** Epoch seconds. */
  readonly keptAt: number
  /** Epoch seconds. */
  readonly until: number
}

/** What became of a body that was to be kept. */
export type Spooled =
  | { readonly whole: true; readonly file: KeptFile }
  /** It is too large to be kept; nothing was lost yet: `body` is all of it, until `discard`, which has to be called. */
  | { readonly whole: false; readonly body: AsyncIterable<Uint8Array>; readonly discard: () => Promise<void> }

export type KeptBytes = ReturnType<typeof createKeptBytes>

const HEADS = 'wopi kept'
const CHUNKS = 'wopi kept bytes'
const CHUNK_BYTES = 256 * 1024
const HEADS_MAX = 1000

/**
 * Bytes that must not be lost, in the store: sealed, in pieces, for a while, and up to a limit for each person and share. Memory
 * holds one piece at a time.
 */
export function createKeptBytes({
  notes,
  sealer,
  now,
  limits,
}: {
  notes: NoteStore
  sealer: Sealer
  now: Clock
  /** Bytes; seconds. */
  limits: { readonly size: number; readonly time: number }
}) {
  const expiresAt = () => now() + limits.time

  async function list(grant: Grant): Promise<KeptFile[]> {
    const heads = await notes.list(HEADS, ownerOf(grant), HEADS_MAX)
    return heads.map(({ data }) => JSON.parse(data) as KeptFile)
  }

  async function putChunk(id: string, index: number, bytes: Buffer): Promise<void> {
    const name = chunkName(id, index)
    const data = sealer.seal(bytes.toString('base64'), `${CHUNKS} ${name}`)
    await notes.put({ space: CHUNKS, id: name, data, expiresAt: expiresAt() })
  }

  async function* read({ id, size }: Pick<KeptFile, 'id' | 'size'>): AsyncGenerator<Buffer> {
    for (let index = 0; index * CHUNK_BYTES < size; index += 1) {
      const name = chunkName(id, index)
      const data = (await notes.get(CHUNKS, name))?.data
      const text = data === undefined ? undefined : sealer.open(data, `${CHUNKS} ${name}`)
      if (text === undefined) throw new Error(`a piece of the kept file ${id} is not there`)
      yield Buffer.from(text, 'base64')
    }
  }

  async function dropChunks(id: string, size: number): Promise<void> {
    for (let index = 0; index * CHUNK_BYTES < size; index += 1) await notes.delete(CHUNKS, chunkName(id, index))
  }

  /** What is not deleted now expires. */
  const discard = (id: string, size: number) => dropChunks(id, size).catch(() => {})

  /** What was stored, then what had not come yet. */
  async function* replay(
    id: string,
    stored: number,
    next: Buffer | undefined,
    rest: AsyncIterator<Buffer>,
  ): AsyncGenerator<Buffer> {
    yield* read({ id, size: stored })
    if (next !== undefined) yield next
    for (let item = await rest.next(); !item.done; item = await rest.next()) yield item.value
  }

  /** Several may have been stored at the same time: those that were kept first stay. */
  async function isWithinLimit(grant: Grant, { id, keptAt }: KeptFile): Promise<boolean> {
    const files = await list(grant)
    const first = files.filter((file) => file.keptAt < keptAt || (file.keptAt === keptAt && file.id <= id))
    return sizeOf(first) <= limits.size
  }

  return {
    list,
    read,

    /** Stores a body. Durable once resolved; a body that fails midway leaves nothing. */
    async spool(
      grant: Grant,
      { name, by }: Pick<KeptFile, 'name' | 'by'>,
      body: AsyncIterable<Uint8Array>,
    ): Promise<Spooled> {
      const id = randomBytes(16).toString('hex')
      const taken = sizeOf(await list(grant))
      const pieces = piecesOf(body)
      let size = 0
      const giveBack = (next?: Buffer): Spooled => ({
        whole: false,
        body: replay(id, size, next, pieces),
        discard: () => discard(id, size),
      })
      try {
        for (let item = await pieces.next(); !item.done; item = await pieces.next()) {
          if (taken + size + item.value.length > limits.size) return giveBack(item.value)
          await putChunk(id, size / CHUNK_BYTES, item.value)
          size += item.value.length
        }
        const file = { id, name, by, size, keptAt: now(), until: expiresAt() }
        await notes.put({ space: HEADS, id: ownerOf(grant) + id, data: JSON.stringify(file), expiresAt: file.until })
        if (await isWithinLimit(grant, file)) return { whole: true, file }
        await notes.delete(HEADS, ownerOf(grant) + id)
        return giveBack()
      } catch (error) {
        await discard(id, size)
        throw error
      }
    },

    find: async (grant: Grant, id: string): Promise<KeptFile | undefined> => {
      const note = await notes.get(HEADS, ownerOf(grant) + id)
      return note && (JSON.parse(note.data) as KeptFile)
    },

    /** What came with this token, but for one of them; also what a process that died has left. */
    async dropOf(grant: Grant, by: string, except?: KeptFile): Promise<void> {
      const outdated = (await list(grant)).filter((file) => file.by === by && file.id !== except?.id)
      for (const { id, size } of outdated) {
        await notes.delete(HEADS, ownerOf(grant) + id)
        await dropChunks(id, size)
      }
    },
  }
}

function sizeOf(files: readonly KeptFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0)
}

/** A person’s own files of one share; ends so that no owner is the beginning of another. */
function ownerOf({ senderDomain, shareId, instance, user }: Grant): string {
  const owner = JSON.stringify([senderDomain, shareId, instance, user])
  return `${createHash('sha256').update(owner).digest('base64url')}.`
}

function chunkName(id: string, index: number): string {
  return `${id}.${String(index).padStart(8, '0')}`
}

/** Pieces of `CHUNK_BYTES`; the last one may be shorter. */
async function* piecesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, undefined> {
  let held: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    held.push(chunk)
    size += chunk.length
    if (size < CHUNK_BYTES) continue
    const all = Buffer.concat(held)
    const whole = size - (size % CHUNK_BYTES)
    for (let at = 0; at < whole; at += CHUNK_BYTES) yield all.subarray(at, at + CHUNK_BYTES)
    held = [all.subarray(whole)]
    size -= whole
  }
  if (size > 0) yield Buffer.concat(held)
  return undefined
}
