import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applySplice, diff, movePosition, rebase, type Splice } from '../../../src/demo/splice.ts'

const text = fc.string({ maxLength: 12, unit: fc.constantFrom('a', 'b', 'c') })

function spliceOf(length: number): fc.Arbitrary<Splice> {
  return fc.tuple(fc.nat(length), fc.nat(length), text).map(([one, other, insert]) => {
    const at = Math.min(one, other)
    return { at, remove: Math.max(one, other) - at, insert }
  })
}

describe('one change of a text', () => {
  it('found by diff makes the new text of the old one', () => {
    fc.assert(
      fc.property(text, text, (before, after) => {
        const change = diff(before, after)
        expect(change ? applySplice(before, change) : before).toBe(after)
      }),
    )
  })

  it.each([
    { where: 'before it', position: 1, stay: false, moved: 1 },
    { where: 'at it, staying', position: 2, stay: true, moved: 2 },
    { where: 'at it, giving way', position: 2, stay: false, moved: 5 },
    { where: 'after it', position: 4, stay: false, moved: 7 },
  ])('moves a position $where to $moved', ({ position, stay, moved }) => {
    expect(movePosition(position, { at: 2, remove: 0, insert: 'new' }, stay)).toBe(moved)
  })

  it('fits the text after any other change', () => {
    const twoOfOneText = text.chain((base) => fc.tuple(fc.constant(base), spliceOf(base.length), spliceOf(base.length)))
    fc.assert(
      fc.property(twoOfOneText, ([base, mine, theirs]) => {
        const after = applySplice(base, theirs)
        const { at, remove } = rebase(mine, theirs, false)
        expect(at).toBeGreaterThanOrEqual(0)
        expect(at + remove).toBeLessThanOrEqual(after.length)
      }),
    )
  })

  it('made by two people at the same time ends in one text on both sides, when neither removes what the other changed', () => {
    const apart = text.chain((base) =>
      fc
        .tuple(fc.constant(base), fc.nat(base.length), fc.nat(base.length), text, text)
        .map(([before, one, other, a, b]) => ({ before, one, other, a, b })),
    )
    fc.assert(
      fc.property(apart, ({ before, one, other, a, b }) => {
        const mine = { at: one, remove: 0, insert: a }
        const theirs = { at: other, remove: 0, insert: b }
        const here = applySplice(applySplice(before, mine), rebase(theirs, mine, true))
        const there = applySplice(applySplice(before, theirs), rebase(mine, theirs, false))
        expect(here).toBe(there)
      }),
    )
  })
})
