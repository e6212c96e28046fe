import type { Applied, PutShare, RevokeShare, ShareKey, ShareRow, Tombstone } from './store.ts'

/** Which requests were applied to a share: the `created` of the newest, and the signatures of that very second. */
interface History {
  readonly created: number
  readonly signatures: readonly string[]
}

/** All that a store keeps about one share. */
export interface ShareState {
  readonly row: ShareRow | Tombstone
  readonly history: History
  /** Epoch seconds; from then on the share counts as unknown. `Infinity`: never. */
  readonly keepUntil: number
}

/** What to answer, and the state to keep from now on; without `next` nothing changes. */
export interface Decision<Answer> {
  readonly answer: Answer
  readonly next?: ShareState
}

const DAY = 86_400
/** Keeps the bookkeeping of one share small: a further provisioning of the same second is `superseded`; a revocation never. */
const SIGNATURES_PER_SECOND = 32

/** The rule of `ShareStore.put`, over what is known of the share and how many live rows its domain has. */
export function decidePut(
  previous: ShareState | undefined,
  row: ShareRow,
  applied: Applied,
  { live, limit }: { live: number; limit: number },
): Decision<PutShare> {
  const order = orderOf(previous?.history, applied)
  const crowded =
    previous?.history.created === applied.created && previous.history.signatures.length >= SIGNATURES_PER_SECOND
  const replaced = previous?.row.state === 'live' ? previous.row : undefined
  if (order === 'repeated' && replaced !== undefined) return { answer: 'unchanged' }
  if (order !== 'next' || crowded) return { answer: 'superseded' }
  if (replaced === undefined && live >= limit) return { answer: 'full' }
  const next = {
    row: { ...row, instance: replaced?.instance ?? row.instance },
    history: extended(previous?.history, applied),
    keepUntil: forgettableFrom(row, applied),
  }
  return { answer: replaced === undefined ? 'stored' : 'replaced', next }
}

/** The rule of `ShareStore.revoke`, over what is known of the share and how many tombstones its domain has. */
export function decideRevoke(
  previous: ShareState | undefined,
  { senderDomain, shareId }: ShareKey,
  applied: Applied,
  { now, keepUntil, tombstones, limit }: { now: number; keepUntil: number; tombstones: number; limit: number },
): Decision<RevokeShare> {
  const order = orderOf(previous?.history, applied)
  const earlier = previous?.row.state === 'revoked' ? previous.row : undefined
  if (order === 'repeated' && earlier !== undefined) return { answer: 'gone' }
  if (order !== 'next') return { answer: 'superseded' }
  if (previous === undefined && tombstones >= limit) return { answer: 'gone' }
  const next: ShareState = {
    row: { senderDomain, shareId, state: 'revoked', revokedAt: earlier?.revokedAt ?? now },
    history: extended(previous?.history, applied),
    keepUntil: earlier === undefined ? keepUntil : Math.max(keepUntil, previous?.keepUntil ?? 0),
  }
  return { answer: previous?.row.state === 'live' ? 'revoked' : 'gone', next }
}

/**
 * Whether what was answered about a share has been lost, and what to write then. What is newer stays, and so does a
 * revocation of the same second: who of the two was first is not known any more.
 */
export function decideAgain(previous: ShareState | undefined, answered: ShareState): Decision<boolean> {
  const { created, signatures } = answered.history
  const order = orderOf(previous?.history, { created, signature: signatures.at(-1) ?? '' })
  if (order !== 'next') return { answer: false }
  const revoked = previous?.row.state === 'revoked' && previous.history.created === created
  const stays = revoked && answered.row.state === 'live' ? previous : undefined
  const both = signatures.reduce((history, signature) => extended(history, { created, signature }), previous?.history)
  return { answer: stays === undefined, next: { ...(stays ?? answered), history: both ?? answered.history } }
}

/** `repeated`: this very request was applied. `late`: a newer one was. */
function orderOf(history: History | undefined, { created, signature }: Applied): 'next' | 'repeated' | 'late' {
  if (history === undefined || created > history.created) return 'next'
  if (created < history.created) return 'late'
  return history.signatures.includes(signature) ? 'repeated' : 'next'
}

function extended(history: History | undefined, { created, signature }: Applied): History {
  const sameSecond = history?.created === created ? history.signatures : []
  return { created, signatures: [...sameSecond, signature].slice(-SIGNATURES_PER_SECOND - 1) }
}

/**
 * A day after the share expired, or after it was provisioned if that is later: a row that arrives expired long ago must
 * still stand in the way of an older provisioning that is replayed.
 */
function forgettableFrom({ expiresAt }: ShareRow, { created }: Applied): number {
  return expiresAt === undefined ? Number.POSITIVE_INFINITY : Math.max(expiresAt, created) + DAY
}
