import { expect, it } from 'vitest'
import { inWords } from '../../src/operate.ts'

it('rows for a person: one a line, and what a peer wrote cannot move the cursor, begin a line or look like a field', () => {
  const rows = [
    { share: '1', name: 'two\nlines\u{1b}[2J\u{202e}', permissions: ['view', 'read'], missing: undefined },
    { share: 'a" state=revoked', name: '' },
  ]
  expect(inWords(rows).split('\n')).toEqual([
    'share=1 name=two\u{fffd}lines\u{fffd}[2J\u{fffd} permissions=view,read',
    'share="a\\" state=revoked" name=""',
  ])
})
