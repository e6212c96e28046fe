import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { covers, permits, underCeiling } from '../../../src/shares/permissions.ts'

type Permission = Parameters<typeof permits>[1]
const ALL: readonly Permission[] = ['view', 'read', 'write', 'share']
const list = (text: string) => text.split(' ').filter(Boolean) as Permission[]

describe('a permission', () => {
  it.each([
    ['view', 'view'],
    ['read', 'view read'],
    ['write', 'view read write'],
    ['share', 'share'],
    ['', ''],
    ['view share', 'view share'],
  ])('"%s" permits exactly "%s"', (granted, needed) => {
    expect(ALL.filter((permission) => permits(list(granted), permission))).toEqual(list(needed))
  })

  it.each([
    ['view read write', 'view read write share', 'view read write'],
    ['write', 'view read write share', 'write'],
    ['write', 'write', 'write'],
    ['write', 'view read', 'view read'],
    ['write', 'view', 'view'],
    ['write', 'read', 'view read'],
    ['write share', 'write', 'view read write'],
    ['read', 'view read', 'read'],
    ['share', 'write', ''],
    ['', 'view read write share', ''],
    ['view', '', ''],
    ['write view', 'view read write share', 'view write'],
  ])('"%s" under the ceiling "%s" is "%s"', (shared, ceiling, left) => {
    expect(underCeiling(list(shared), list(ceiling))).toEqual(list(left))
  })

  const some = fc.subarray([...ALL])
  it('under a ceiling is never more than the share’s, nor than the ceiling’s', () => {
    const property = fc.property(some, some, fc.constantFrom(...ALL), (shared, ceiling, needed) => {
      expect(permits(underCeiling(shared, ceiling), needed)).toBe(permits(shared, needed) && permits(ceiling, needed))
    })
    fc.assert(property)
  })

  it.each([
    ['write', 'view read write', true],
    ['view read', 'write', false],
    ['read', 'view read', true],
    ['view', '', true],
    ['', 'view', false],
    ['write', 'share', false],
  ])('"%s" covers "%s": %s', (now, before, covered) => {
    expect(covers(list(now), list(before))).toBe(covered)
  })
})
