import type { Permission } from '../config/schema.ts'

/** `write` implies `read`, which implies `view`; `share` stands alone. */
const IMPLIES: Record<Permission, readonly Permission[]> = {
  view: ['view'],
  read: ['view', 'read'],
  write: ['view', 'read', 'write'],
  share: ['share'],
}
const ORDER: readonly Permission[] = ['view', 'read', 'write', 'share']

function expand(permissions: readonly Permission[]): Set<Permission> {
  return new Set(permissions.flatMap((permission) => IMPLIES[permission]))
}

/** Whether what was granted is enough for what is needed. */
export function permits(granted: readonly Permission[], needed: Permission): boolean {
  return granted.some((permission) => IMPLIES[permission].includes(needed))
}

/** What a share grants under its pairing’s ceiling: the share’s own list when nothing is cut, else what remains of it. */
export function underCeiling(shared: readonly Permission[], ceiling: readonly Permission[]): Permission[] {
  const top = expand(ceiling)
  if (shared.every((permission) => top.has(permission)))
    return ORDER.filter((permission) => shared.includes(permission))
  const all = expand(shared)
  return ORDER.filter((permission) => all.has(permission) && top.has(permission))
}

/** Whether `now` covers everything that `before` did. */
export function covers(now: readonly Permission[], before: readonly Permission[]): boolean {
  return before.every((permission) => permits(now, permission))
}
