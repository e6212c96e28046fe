import { createHash } from 'node:crypto'
import { childUrl, type Entry, ResourceError, type SharedResource } from '../../../resources/resource.ts'
import { mayBeNew } from './changes.ts'
import type { Contents, LocalEntry } from './contents-client.ts'
import { isAsMirrored, isRemoteAsMirrored, type RemoteMirrored, strongEtag } from './decisions.ts'
import type { Change, Conflict, Mirrored, MirrorNotes, Root } from './mirror-notes.ts'
import { ancestorsOf, canMirror, conflictPath, nameOf, parentOf } from './paths.ts'

const TRANSFER_SECONDS = 600
/** Further names for a copy within one minute. */
const COPY_NAMES = 20

export interface Saving {
  /** The hub user. */
  readonly name: string
  readonly contents: Contents
  readonly resource: SharedResource
  readonly notes: MirrorNotes
  readonly root: Root
  /** Epoch seconds. */
  readonly now: () => number
  readonly onConflict: (conflict: Conflict) => Promise<void>
}

/**
 * Makes the sender’s side like the home, as far as one change goes. It compares what is there now with what both were when
 * they were last the same, so that it can be repeated, and come late. What the sender’s side has changed meanwhile is never
 * overwritten or deleted.
 *
 * @throws {ResourceError | ContentsError} when it has to be tried again
 */
export async function saveChange(change: Change, saving: Saving): Promise<void> {
  if (saving.root.file !== undefined) return saveSingle(change, saving)
  if (change.kind === 'move') return saveMove(change, saving)
  if (change.kind === 'new') return saveNew(change, saving)
  return savePath(change.path, saving)
}

/** Nothing but the one shared file goes back; under another name it still is that file. */
async function saveSingle(change: Change, saving: Saving): Promise<void> {
  const { name, contents, notes } = saving
  if (change.kind === 'new') return
  const mirrored = await notes.mirrored(name, change.path)
  if (mirrored === undefined) return
  if (change.kind === 'move') {
    if ((await contents.stat(change.path)) !== undefined) return
    await notes.putMirrored(name, { ...mirrored, path: change.to })
    await notes.deleteMirrored(name, change.path)
    return saveSingle({ kind: 'path', path: change.to, at: change.at }, saving)
  }
  const local = await contents.stat(change.path)
  if (local !== undefined && !local.isFolder) await saveFile(local, mirrored, saving)
}

/** A file that was saved or deleted, a folder that was made or deleted. */
async function savePath(path: string, saving: Saving): Promise<void> {
  const { name, contents, notes } = saving
  const known = await notes.mirrored(name, path)
  const local = await contents.stat(path)
  const isReplaced = known !== undefined && known.isFolder !== local?.isFolder
  if (isReplaced) await removeThere(known, saving)
  const mirrored = isReplaced ? undefined : known
  if (local === undefined) return
  if (!local.isFolder) return saveFile(local, mirrored, saving)
  if (mirrored === undefined) await makeFolder(path, saving)
}

async function saveNew(change: Extract<Change, { kind: 'new' }>, saving: Saving): Promise<void> {
  const { name, contents, notes } = saving
  for (const local of (await contents.list(change.path)) ?? []) {
    const isNew = canMirror(local.path) && mayBeNew(local.created, change)
    if (isNew && (await notes.mirrored(name, local.path)) === undefined) await savePath(local.path, saving)
  }
}

/** As a MOVE, when the sender’s side is as we know it; else like any other change of both places. */
async function saveMove({ path, to }: Extract<Change, { kind: 'move' }>, saving: Saving): Promise<void> {
  const { name, contents, notes } = saving
  const from = await notes.mirrored(name, path)
  const isMovable = from !== undefined && !from.partial && !from.diverted
  const isMoved = (await contents.stat(path)) === undefined && (await notes.mirrored(name, to)) === undefined
  if (isMovable && isMoved) await moveThere(from, to, saving)
  await saveTree(to, saving)
  await savePath(path, saving)
}

async function moveThere(from: Mirrored, to: string, saving: Saving): Promise<void> {
  const { resource, name, notes } = saving
  await makeParents(to, saving)
  const url = await urlOf(to, saving)
  try {
    await resource.move(from.url, url)
  } catch (error) {
    // Nothing to move, or something in the way: then it is a new file here, and one that is gone there.
    if (isFailure(error, 'missing', 'changed', 'misplaced')) return
    throw error
  }
  const tree = [from, ...(from.isFolder ? await notes.mirroredBelow(name, from.path) : [])]
  for (const it of tree) {
    const path = to + it.path.slice(from.path.length)
    const suffix = it === from ? '' : it.url.slice(from.url.replace(/\/$/, '').length)
    await notes.putMirrored(name, { ...it, path, url: url + suffix })
    await notes.deleteMirrored(name, it.path)
  }
}

/** Everything below a path, as far as it is not there as it is here. */
async function saveTree(path: string, saving: Saving): Promise<void> {
  const { contents, notes, name } = saving
  const present = new Set<string>([path])
  const look = async (folder: string): Promise<void> => {
    await savePath(folder, saving)
    const inside = ((await contents.list(folder)) ?? []).filter((entry) => canMirror(entry.path))
    for (const entry of inside) {
      present.add(entry.path)
      await (entry.isFolder ? look(entry.path) : savePath(entry.path, saving))
    }
  }
  const local = await contents.stat(path)
  if (!local?.isFolder) return savePath(path, saving)
  await look(path)
  // Who deletes a folder deletes what was in it.
  const known = await notes.mirroredBelow(name, path)
  for (const gone of known.filter((it) => !present.has(it.path))) await savePath(gone.path, saving)
}

/** Deletes what we know, and nothing else: what the sender’s side has changed or added stays. */
async function removeThere(mirrored: Mirrored, saving: Saving): Promise<void> {
  const below = mirrored.isFolder ? await saving.notes.mirroredBelow(saving.name, mirrored.path) : []
  // Inner ones first.
  const tree = [...below.toSorted((a, b) => b.path.length - a.path.length), mirrored]
  for (const it of tree) await removeOne(it, saving)
}

async function removeOne(mirrored: Mirrored, saving: Saving): Promise<void> {
  const { resource, notes, name } = saving
  try {
    // The URL of a diverted file is the copy’s, which stays.
    const isOurs = !mirrored.diverted && (await isRemovable(mirrored, saving))
    if (isOurs) await resource.remove(mirrored.url, { ifMatch: removalMatch(mirrored) })
  } catch (error) {
    if (!isFailure(error, 'missing', 'changed')) throw error
  }
  await notes.deleteMirrored(name, mirrored.path)
}

async function isRemovable(mirrored: Mirrored, { resource }: Saving): Promise<boolean> {
  const remote = await resource.stat(mirrored.url)
  if (remote === undefined) return false
  return mirrored.isFolder ? (await resource.list(remote.url)).length === 0 : isRemoteAsMirrored(remote, mirrored)
}

/** Folders have no ETag that says what is in them, as far as standards go. */
function removalMatch({ isFolder, etag }: Mirrored): string | undefined {
  return isFolder ? undefined : strongEtag(etag)
}

async function makeParents(path: string, saving: Saving): Promise<void> {
  const { name, notes } = saving
  for (const folder of ancestorsOf(path)) {
    if ((await notes.mirrored(name, folder)) === undefined) await makeFolder(folder, saving)
  }
}

async function makeFolder(path: string, saving: Saving): Promise<void> {
  const { resource, notes, name } = saving
  await makeParents(path, saving)
  const url = await urlOf(path, saving)
  await inItsFolder(path, url, saving, async () => {
    try {
      await resource.makeFolder(url)
    } catch (error) {
      const isThere = isFailure(error, 'misplaced') && (await resource.stat(url))?.isFolder
      if (!isThere) throw error
    }
  })
  await notes.putMirrored(name, { path, url, isFolder: true })
}

/** Once more with new folders, when the other side has deleted those that it needs. */
async function inItsFolder<T>(path: string, url: string, saving: Saving, attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt()
  } catch (error) {
    const isHomeless = isFailure(error, 'misplaced', 'missing') && (await saving.resource.stat(url)) === undefined
    if (!isHomeless || saving.root.file !== undefined) throw error
    await restoreParents(path, saving)
    return attempt()
  }
}

async function restoreParents(path: string, saving: Saving): Promise<void> {
  const { name, notes, resource } = saving
  for (const folder of ancestorsOf(path)) {
    const url = (await notes.mirrored(name, folder))?.url ?? (await urlOf(folder, saving))
    if ((await resource.stat(url)) === undefined) await resource.makeFolder(url)
    await notes.putMirrored(name, { path: folder, url, isFolder: true })
  }
}

/** Where something that is not there yet belongs: in the folder as the sender’s side calls it. */
async function urlOf(path: string, { name, notes, root }: Saving): Promise<string> {
  const parent = parentOf(path)
  const folder = parent === '' ? undefined : await notes.mirrored(name, parent)
  return folder === undefined ? childUrl(root.url, ...path.split('/')) : childUrl(folder.url, nameOf(path))
}

async function saveFile(local: LocalEntry, mirrored: Mirrored | undefined, saving: Saving): Promise<void> {
  const { name, notes } = saving
  const { path } = local
  if (mirrored !== undefined && !mirrored.partial && isAsMirrored(local, mirrored)) return
  if (mirrored === undefined) await makeParents(path, saving)
  const url = mirrored?.url ?? (await urlOf(path, saving))
  const saved = (await replace(local, url, mirrored, saving)) ?? (await reconcile(local, url, mirrored, saving))
  if (saved !== undefined) await notes.putMirrored(name, { ...saved, ...(mirrored?.diverted && { diverted: true }) })
  else await divert(local, saving)
}

/** @returns what both are now; `undefined` when the sender’s side is not what it was */
async function replace(
  local: LocalEntry,
  url: string,
  mirrored: RemoteMirrored | undefined,
  saving: Saving,
): Promise<Mirrored | undefined> {
  const { resource } = saving
  // Without a strong ETag, and at servers that do not look at conditions, there is no better protection than to look first.
  const remote = await resource.stat(url)
  const isUnchanged = mirrored === undefined ? remote === undefined : remote && isRemoteAsMirrored(remote, mirrored)
  if (!isUnchanged) return undefined
  const condition = mirrored === undefined ? { onlyNew: true as const } : { ifMatch: strongEtag(mirrored.etag) }
  try {
    return await inItsFolder(local.path, url, saving, () => upload(local, url, condition, saving))
  } catch (error) {
    if (isFailure(error, 'changed')) return undefined
    if (mirrored === undefined && isFailure(error, 'misplaced') && (await resource.stat(url)) !== undefined)
      return undefined
    throw error
  }
}

type Condition = { readonly onlyNew: true } | { readonly ifMatch: string | undefined }

async function upload(local: LocalEntry, url: string, condition: Condition, saving: Saving): Promise<Mirrored> {
  const { contents, resource } = saving
  const { path, size, modified } = local
  const signal = AbortSignal.timeout(TRANSFER_SECONDS * 1000)
  const source = watched(contents.read(path, signal))
  const { etag } = await resource.write(url, source.body, { size, signal, ...condition }).catch((error) => {
    throw source.failure() ?? error
  })
  const remote = etag === undefined ? await resource.stat(url) : undefined
  const { sha256, bytes } = source.digest()
  return {
    path,
    url,
    isFolder: false,
    etag: etag ?? remote?.etag,
    remoteSize: remote?.size ?? bytes,
    remoteModified: remote?.modified,
    modified,
    size: bytes,
    sha256,
  }
}

/** The bytes as they come, hashed; a failure of our own side must not look like one of the sender’s. */
function watched(chunks: AsyncIterable<Uint8Array>) {
  const hash = createHash('sha256')
  let bytes = 0
  let failure: unknown
  async function* body() {
    try {
      for await (const chunk of chunks) {
        hash.update(chunk)
        bytes += chunk.length
        yield chunk
      }
    } catch (error) {
      failure = error
      throw error
    }
  }
  return { body: body(), failure: () => failure, digest: () => ({ sha256: hash.digest('hex'), bytes }) }
}

/**
 * What looks changed may be what we wrote ourselves before a crash, or what we know under another ETag.
 *
 * @returns `undefined` when it is really another content
 */
async function reconcile(
  local: LocalEntry,
  url: string,
  mirrored: Mirrored | undefined,
  saving: Saving,
): Promise<Mirrored | undefined> {
  const remote = await saving.resource.stat(url)
  if (remote === undefined || remote.isFolder) return undefined
  const theirs = await hashThere(remote, saving)
  const ours = await hashHere(local, saving)
  const { etag, size: remoteSize, modified: remoteModified } = remote
  if (theirs === ours.sha256) {
    const { path, modified } = local
    return { path, url, isFolder: false, etag, remoteSize, remoteModified, modified, ...ours }
  }
  if (theirs !== mirrored?.sha256) return undefined
  return replace(local, url, { etag, remoteSize, remoteModified }, saving)
}

async function hashThere({ url }: Entry, { resource }: Saving): Promise<string> {
  const { body } = await resource.read(url, { signal: AbortSignal.timeout(TRANSFER_SECONDS * 1000) })
  return (await digestOf(body)).sha256
}

function hashHere({ path }: LocalEntry, { contents }: Saving): Promise<{ sha256: string; size: number }> {
  return digestOf(contents.read(path, AbortSignal.timeout(TRANSFER_SECONDS * 1000)))
}

async function digestOf(body: AsyncIterable<Uint8Array>): Promise<{ sha256: string; size: number }> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of body) {
    hash.update(chunk)
    size += chunk.length
  }
  return { sha256: hash.digest('hex'), size }
}

/**
 * Both sides have changed the file. The sender’s stays as it is; ours is put beside it under another name, there and here.
 * What is open in the home stays open under its name, and saves of it go to that copy, until a launch brings the sender’s.
 */
async function divert(local: LocalEntry, saving: Saving): Promise<void> {
  const { name, contents, notes, now, onConflict } = saving
  const { path } = local
  const saved = await putBeside(local, saving)
  const copy = await contents.write(saved.path, contents.read(path, AbortSignal.timeout(TRANSFER_SECONDS * 1000)))
  await notes.putMirrored(name, { ...saved, modified: copy.modified })
  await notes.putMirrored(name, { ...saved, path, diverted: true })
  await onConflict({ path, copy: saved.path, at: now() })
}

/** @returns the copy there, as it is to be called here */
async function putBeside(local: LocalEntry, saving: Saving): Promise<Mirrored> {
  const { contents, now, root, resource } = saving
  for (let attempt = 1; attempt <= COPY_NAMES; attempt++) {
    const path = conflictPath(local.path, now(), attempt)
    if ((await contents.stat(path)) !== undefined) continue
    const url = root.file === undefined ? await urlOf(path, saving) : new URL(encodeURIComponent(path), root.url).href
    try {
      const saved = await inItsFolder(path, url, saving, () => upload(local, url, { onlyNew: true }, saving))
      return { ...saved, path }
    } catch (error) {
      const isTaken = isFailure(error, 'changed') || (isFailure(error, 'misplaced') && (await resource.stat(url)))
      if (!isTaken) throw error
    }
  }
  throw new ResourceError('misplaced', 'there is no name left for a copy')
}

function isFailure(error: unknown, ...failures: readonly string[]): boolean {
  return error instanceof ResourceError && failures.includes(error.failure)
}
