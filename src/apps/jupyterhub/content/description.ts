import type { Grant } from '../../../shares/grant.ts'
import { permits } from '../../../shares/permissions.ts'
import type { ContentStatus } from '../../app.ts'
import type { ContentState, QueuedChange } from './mirror-notes.ts'

/** How the content of a home is, for people and programs: part of the answer of `S.ocm/session`. */
export function describeContent(
  state: ContentState | undefined,
  queue: readonly QueuedChange[],
  { permissions, senderDomain }: Grant,
): ContentStatus {
  if (state?.root === undefined) return { state: 'absent', leftOut: { total: 0, listed: [] } }
  const { leftOut, conflicts, savedAt, waiting } = state
  if (!permits(permissions, 'write')) return { state: 'private', leftOut }
  const isWaiting = queue.length > 0 && waiting !== undefined
  return {
    state: isWaiting ? 'waiting' : queue.length > 0 ? 'saving' : conflicts.length > 0 ? 'conflict' : 'saved',
    pending: queue.length,
    paths: [...new Set(queue.map(({ change }) => change.path))].slice(0, 100),
    ...(isWaiting && { waiting: `${senderDomain}: ${waiting}` }),
    conflicts,
    leftOut,
    ...(savedAt !== undefined && { lastSavedAt: savedAt }),
  }
}
