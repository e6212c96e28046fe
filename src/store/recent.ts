import type { Clock } from '../core/time.ts'

/** A read that is under way. */
interface Reader {
  readonly key: string
  changed: boolean
}

interface Options {
  /** How many are kept; of more, the oldest goes. */
  readonly max: number
  /** How long a value is believed when nobody calls `forget`; 0: every value is read again. */
  readonly freshSeconds: number
  readonly now: Clock
  /** Whether such a call would come; while it would not, nothing is believed. */
  readonly hearing: () => boolean
}

/**
 * What was read from the store a moment ago, so that a request asks nobody for it. Whoever hears on the bus that something
 * changed calls `forget`.
 */
export function createRecent<Value>({ max, freshSeconds, now, hearing }: Options) {
  const entries = new Map<string, { readonly value: Value; readonly readAt: number }>()
  const readers = new Set<Reader>()

  function keep(key: string, value: Value | undefined, readAt: number): void {
    entries.delete(key)
    if (value === undefined) return
    if (entries.size >= max) entries.delete(entries.keys().next().value ?? '')
    entries.set(key, { value, readAt })
  }

  return {
    /** A value that is believed. */
    get(key: string): Value | undefined {
      const entry = entries.get(key)
      if (entry === undefined || !hearing()) return undefined
      return now() < entry.readAt + freshSeconds ? entry.value : undefined
    },

    /** What was read last, believed or not. */
    last: (key: string): Value | undefined => entries.get(key)?.value,

    /** Reads it, and again when it changed meanwhile, or may have: what was read may be from before. */
    async read(key: string, load: () => Promise<Value | undefined>): Promise<Value | undefined> {
      for (;;) {
        const heard = hearing()
        const readAt = heard ? now() : Number.NEGATIVE_INFINITY
        const reader: Reader = { key, changed: false }
        readers.add(reader)
        const value = await load().finally(() => readers.delete(reader))
        if (reader.changed || (!heard && hearing())) continue
        keep(key, value, readAt)
        return value
      }
    },

    forget(key: string): void {
      for (const reader of readers) reader.changed ||= reader.key === key
      entries.delete(key)
    },

    forgetAll(): void {
      for (const reader of readers) reader.changed = true
      entries.clear()
    },
  }
}
