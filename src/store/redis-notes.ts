import type { Clock } from '../core/time.ts'
import type { Ask, Client } from './redis-connection.ts'
import { keyOf, ttlOf } from './redis-keys.ts'
import type { Note, NoteStore } from './store.ts'

const SWEEP_BATCH = 1000
/** Above every character of an id. */
const LAST = '\x7f'
const SPACES = keyOf('spaces')

const keyOfNote = (space: string, id: string) => keyOf('note', space, id)
/** All ids of a space, in their order. */
const idsOf = (space: string) => keyOf('notes in', space)
/** The ids of a space that expire, by when. */
const expiringOf = (space: string) => keyOf('notes expiring in', space)

/** A note is a hash. What expired goes from the lists of ids with the next notes that are put into its space. */
export function createNotes(client: Client, ask: Ask, now: Clock): NoteStore {
  async function find(space: string, id: string): Promise<Note | undefined> {
    const [data, written] = await client.hmget(keyOfNote(space, id), 'data', 'expiresAt')
    if (data === null || data === undefined) return undefined
    const expiresAt = written == null ? undefined : Number(written)
    return expiresAt !== undefined && expiresAt <= now() ? undefined : { space, id, data, expiresAt }
  }

  function argumentsOf({ space, id, data, expiresAt }: Note): (string | number)[] {
    const keys = [keyOfNote(space, id), idsOf(space), expiringOf(space), SPACES]
    return [...keys, keyOfNote(space, ''), now(), id, data, expiresAt ?? '', ttlOf(expiresAt, now()), space]
  }

  async function forgetIn(space: string, time: number): Promise<void> {
    const forget = () => client.forgetNotes(idsOf(space), expiringOf(space), keyOfNote(space, ''), time, SWEEP_BATCH)
    while ((await forget()) === SWEEP_BATCH);
  }

  return {
    get: (space, id) => ask(() => find(space, id)),
    put: (note) => ask(async () => void (await client.putNote(...argumentsOf(note)))),
    replace: (note, from) =>
      ask(async () => {
        const expected = from === undefined ? ['1', ''] : ['0', from]
        return (await client.replaceNote(...argumentsOf(note), ...expected)) === 1
      }),
    delete: (space, id) =>
      ask(async () => void (await client.deleteNote(keyOfNote(space, id), idsOf(space), expiringOf(space), id))),
    list: (space, prefix, limit) =>
      ask(async () => {
        const notes: Note[] = []
        let from = `[${prefix}`
        while (notes.length < limit) {
          const ids = await client.zrangebylex(idsOf(space), from, `(${prefix}${LAST}`, 'LIMIT', 0, limit)
          const found = await Promise.all(ids.map((id) => find(space, id)))
          notes.push(...found.filter((note) => note !== undefined))
          if (ids.length < limit) break
          from = `(${ids.at(-1)}`
        }
        return notes.slice(0, limit)
      }),
    sweep: (time) =>
      ask(async () => {
        for (const space of await client.smembers(SPACES)) await forgetIn(space, time)
      }),
  }
}
