/** One change of a text: `remove` characters at `at`, then `insert`. */
export interface Splice {
  readonly at: number
  readonly remove: number
  readonly insert: string
}

// These functions also run in the browser, as their own source text: each stands alone but for the others here.

export function applySplice(text: string, { at, remove, insert }: Splice): string {
  return text.slice(0, at) + insert + text.slice(at + remove)
}

/** The smallest single change that makes `after` of `before`; `undefined` when they are equal. */
export function diff(before: string, after: string): Splice | undefined {
  if (before === after) return undefined
  const most = Math.min(before.length, after.length)
  let start = 0
  while (start < most && before[start] === after[start]) start += 1
  let end = 0
  while (end < most - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1
  return { at: start, remove: before.length - start - end, insert: after.slice(start, after.length - end) }
}

/** Where a position of the old text is after a change. At the very place of an insertion, `stay` decides. */
export function movePosition(position: number, { at, remove, insert }: Splice, stay: boolean): number {
  if (position < at || (position === at && stay)) return position
  if (position >= at + remove) return position + insert.length - remove
  return at + insert.length
}

/**
 * `mine`, made for the text before `theirs`, as it must be for the text after it.
 *
 * Two insertions at one place: with `first`, mine comes before theirs; both sides must say the opposite.
 */
export function rebase(mine: Splice, theirs: Splice, first: boolean): Splice {
  const at = movePosition(mine.at, theirs, first)
  const end = mine.remove === 0 ? at : movePosition(mine.at + mine.remove, theirs, true)
  return { at, remove: Math.max(0, end - at), insert: mine.insert }
}
