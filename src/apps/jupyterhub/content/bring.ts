import { setTimeout as wait } from 'node:timers/promises'
import { ResourceError, type SharedResource } from '../../../resources/resource.ts'
import type { Report } from '../../app.ts'
import { isAboutOne, wordsOf } from './content-errors.ts'
import { type Contents, ContentsError, type LocalEntry } from './contents-client.ts'
import { decideBringing } from './decisions.ts'
import type { LeftOut, Mirrored, MirrorNotes } from './mirror-notes.ts'
import { isBelow } from './paths.ts'
import { type Found, type Plan, sizeText } from './walk.ts'

const AT_ONCE = 4
const RETRY_SECONDS = [1, 4]
const REPORT_EVERY_MS = 100

export interface Bringing {
  /** The hub user. */
  readonly name: string
  readonly contents: Contents
  readonly resource: SharedResource
  readonly notes: MirrorNotes
  /** Whether the home has a change of this path that the sender’s side may not have yet. */
  readonly isPending: (path: string) => Promise<boolean>
  /** Runs `work` while no request changes this path in the home. */
  readonly undisturbed: <T>(path: string, work: () => Promise<T>) => Promise<T>
  readonly report: Report
  readonly signal: AbortSignal
}

export interface Brought {
  readonly files: number
  readonly bytes: number
  readonly leftOut: readonly LeftOut[]
}

interface Wanted extends Found {
  /** What it replaces. */
  readonly present: LocalEntry | undefined
}

/** A file cannot come as its sender described it; it is left out. */
class BadFile extends Error {}

/**
 * Brings what was planned into the home, by streaming: folders first, then files, some at a time. A note of each makes that
 * the next attempt goes on where this one ended, and that nothing is overwritten that was changed in the home.
 *
 * @throws {ResourceError | ContentsError} when no more can come now
 * @throws the signal’s reason
 */
export async function bringPlan(plan: Plan, parts: Bringing): Promise<Brought> {
  const { name, contents, notes, signal } = parts
  const known = new Map((await notes.mirroredBelow(name, '')).map((note) => [note.path, note]))
  const leftOut = [...plan.leftOut]
  const local = await makeFolders(plan, parts, leftOut)
  const wanted = await decide(plan, { ...parts, known, local, leftOut })
  const progress = startProgress(wanted, parts.report)
  const allowance = startAllowance(plan.spareBytes)
  const failed = new AbortController()
  const stop = AbortSignal.any([signal, failed.signal])
  let bytes = 0

  async function bringOne(found: Wanted): Promise<void> {
    try {
      const size = await bringFile(found, { ...parts, allowance, signal: stop }, progress.counting)
      bytes += size
    } catch (error) {
      stop.throwIfAborted()
      if (!(error instanceof BadFile) && !isAboutOne(error)) throw error
      await contents.remove(found.path).catch(() => {})
      await notes.deleteMirrored(name, found.path)
      leftOut.push({ path: found.path, why: error instanceof BadFile ? error.message : (wordsOf(error) ?? '') })
    }
  }

  const queue = wanted.values()
  const worker = async () => {
    for (const found of queue) {
      progress.began(found)
      await bringOne(found)
      progress.done()
    }
  }
  const workers = Array.from({ length: AT_ONCE }, worker)
  try {
    await Promise.all(workers)
  } catch (error) {
    failed.abort(error)
    await Promise.allSettled(workers)
    signal.throwIfAborted()
    throw error
  }
  return { files: wanted.length, bytes, leftOut }
}

/** Makes the folders that are missing. @returns what is in the home at the places of the plan */
async function makeFolders(plan: Plan, { name, contents, notes, isPending, signal }: Bringing, leftOut: LeftOut[]) {
  const local = new Map<string, LocalEntry>()
  const look = async (folder: string) => {
    for (const entry of (await contents.list(folder)) ?? []) local.set(entry.path, entry)
  }
  const taken: string[] = []
  await look('')
  for (const { path, entry } of plan.folders) {
    signal.throwIfAborted()
    const present = local.get(path)
    if (taken.some((folder) => isBelow(path, folder)) || (await isPending(path))) continue
    if (present?.isFolder) await look(path)
    else if (present === undefined) await contents.makeFolder(path)
    else {
      taken.push(path)
      leftOut.push({ path: `${path}/`, why: 'a file of that name is here already' })
      continue
    }
    await notes.putMirrored(name, { path, url: entry.url, isFolder: true })
  }
  return local
}

interface Deciding extends Bringing {
  readonly known: ReadonlyMap<string, Mirrored>
  readonly local: ReadonlyMap<string, LocalEntry>
  readonly leftOut: LeftOut[]
}

/** Which files have to come; tells of those that must not. */
async function decide(plan: Plan, { known, local, leftOut, contents, isPending }: Deciding): Promise<Wanted[]> {
  const wanted: Wanted[] = []
  const occupied = new Set(leftOut.filter(({ path }) => path.endsWith('/')).map(({ path }) => path.slice(0, -1)))
  for (const found of plan.files) {
    const { path, entry: remote } = found
    if ([...occupied].some((folder) => isBelow(path, folder)) || (await isPending(path))) continue
    const mirrored = known.get(path)
    // Listings leave some names out that are there all the same.
    const present = local.get(path) ?? (mirrored && (await contents.stat(path)))
    const decision = decideBringing({ remote, local: present, mirrored })
    if (decision === 'fetch') wanted.push({ ...found, present: undefined })
    if (decision === 'refresh') wanted.push({ ...found, present })
    if (decision === 'occupied') leftOut.push({ path, why: 'something of that name is here already' })
    if (decision === 'changed-on-both')
      leftOut.push({ path, why: 'changed on both sides: what is here is yours, a newer version is in the other cloud' })
  }
  return wanted
}

type Counting = (bytes: number) => void

/** Unless it was changed in the home a moment ago. @returns its bytes */
async function bringFile(wanted: Wanted, parts: BringingFiles, count: Counting): Promise<number> {
  const { path, present } = wanted
  const { contents, undisturbed, isPending, signal } = parts
  return undisturbed(path, async () => {
    const changed = present !== undefined && (await contents.stat(path))?.modified !== present.modified
    if (changed || (await isPending(path))) return 0
    return retried(() => transfer(wanted, parts, count), signal)
  })
}

async function transfer({ path, entry }: Wanted, parts: BringingFiles, count: Counting): Promise<number> {
  const { name, contents, resource, notes, allowance, signal } = parts
  const reading = await resource.read(entry.url, { signal })
  const remote = {
    path,
    url: entry.url,
    isFolder: false,
    etag: reading.etag ?? entry.etag,
    remoteSize: entry.size ?? reading.size,
    remoteModified: entry.modified ?? reading.modified,
  }
  await notes.putMirrored(name, { ...remote, partial: true })
  const { modified, size, sha256 } = await contents.write(path, allowance(reading.body, entry.size, count))
  await notes.putMirrored(name, { ...remote, modified, size, sha256 })
  return size
}

/** The same bytes, counted; ends when there are more than were promised, or than files of unknown size may have together. */
type Allowance = (
  body: AsyncIterable<Uint8Array>,
  promised: number | undefined,
  count: Counting,
) => AsyncIterable<Uint8Array>

interface BringingFiles extends Bringing {
  readonly allowance: Allowance
}

function startAllowance(spareBytes: number): Allowance {
  let spare = spareBytes
  return async function* allowed(body, promised, count) {
    let size = 0
    for await (const chunk of body) {
      size += chunk.length
      if (promised === undefined) spare -= chunk.length
      if (promised !== undefined && size > promised) throw new BadFile('it is larger than its cloud says')
      if (spare < 0) throw new BadFile('beyond the limit of all files together')
      count(chunk.length)
      yield chunk
    }
  }
}

/** Once more when a peer did not answer, before everything is given up. */
async function retried<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (const seconds of RETRY_SECONDS) {
    try {
      return await attempt()
    } catch (error) {
      if (signal.aborted || !isUnanswered(error)) throw error
      await wait(seconds * 1000, undefined, { signal })
    }
  }
  return attempt()
}

function isUnanswered(error: unknown): boolean {
  if (error instanceof ContentsError) return !error.isAboutPath
  return error instanceof ResourceError && error.failure === 'unreachable'
}

/** Tells how it goes, not more often than people can see. */
function startProgress(files: readonly Found[], report: Report) {
  const total = files.reduce((sum, { entry }) => sum + (entry.size ?? 0), 0)
  let [done, bytes, told, current] = [0, 0, Number.NEGATIVE_INFINITY, '']

  function tell(): void {
    if (performance.now() - told < REPORT_EVERY_MS) return
    told = performance.now()
    // An empty file takes its time too.
    const share = (done * 4096 + bytes) / (files.length * 4096 + total || 1)
    const count = `Fetching the files: ${done.toLocaleString('en')} of ${files.length.toLocaleString('en')}`
    const message = `${count}, ${sizeText(bytes)} of ${sizeText(total)}`
    report({ percent: Math.min(100, share * 100), message, detail: current })
  }

  return {
    began({ path }: Found): void {
      current = path
      tell()
    },
    counting(count: number): void {
      bytes += count
      tell()
    },
    done(): void {
      done += 1
      tell()
    },
  }
}
