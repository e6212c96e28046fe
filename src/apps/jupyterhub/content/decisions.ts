import type { Entry } from '../../../resources/resource.ts'
import type { LocalEntry } from './contents-client.ts'
import type { Mirrored } from './mirror-notes.ts'

/** What becomes of one file of the share when it is brought. */
export type Bringing = 'fetch' | 'refresh' | 'same' | 'changed-here' | 'changed-on-both' | 'occupied'

interface Sides {
  readonly remote: Entry
  readonly local: LocalEntry | undefined
  /** What both were when they were last the same. */
  readonly mirrored: Mirrored | undefined
}

/** Nothing that was changed in the home is ever overwritten. */
export function decideBringing({ remote, local, mirrored }: Sides): Bringing {
  if (local === undefined || mirrored?.partial) return 'fetch'
  if (mirrored === undefined || local.isFolder) return 'occupied'
  const here = isAsMirrored(local, mirrored)
  const there = !mirrored.diverted && isRemoteAsMirrored(remote, mirrored)
  if (here) return there ? 'same' : 'refresh'
  return there || mirrored.diverted ? 'changed-here' : 'changed-on-both'
}

/** What the sender’s side told of a file. */
export type RemoteMirrored = Pick<Mirrored, 'etag' | 'remoteSize' | 'remoteModified'>

export function isAsMirrored({ modified, size }: LocalEntry, mirrored: Mirrored): boolean {
  return modified === mirrored.modified && (size === undefined || size === mirrored.size)
}

/** By its ETag, a weak one too; where there is none, by size and time. */
export function isRemoteAsMirrored({ etag, size, modified }: Entry, mirrored: RemoteMirrored): boolean {
  if (etag !== undefined || mirrored.etag !== undefined) return etag === mirrored.etag
  return size === mirrored.remoteSize && modified === mirrored.remoteModified
}

/** An ETag that `If-Match` can use (RFC 9110 §13.1.1). */
export function strongEtag(etag: string | undefined): string | undefined {
  return etag?.startsWith('W/') ? undefined : etag
}
