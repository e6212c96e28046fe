import { PREFIX } from './redis-scripts.ts'

/** The name of what is kept: words without a space, and a last one that may be anything. */
export function keyOf(what: string, ...names: readonly string[]): string {
  const words = names.slice(0, -1).map((name) => encodeURIComponent(name))
  return [PREFIX + what, ...words, ...names.slice(-1)].join(' ')
}

/** Redis deletes nothing before our own clock calls it over, also when the clocks of two processes differ by this. */
const SLACK_SECONDS = 60
const LONGEST_MS = 1e13

/** Milliseconds from now until Redis may forget something; `''`: never. */
export function ttlOf(keepUntil: number | undefined, now: number): string {
  if (keepUntil === undefined || keepUntil === Number.POSITIVE_INFINITY) return ''
  const seconds = Math.max(keepUntil - now, 0) + SLACK_SECONDS
  return String(Math.min(Math.ceil(seconds * 1000), LONGEST_MS))
}

/** A score of a sorted set. */
export function scoreOf(time: number): string {
  return time === Number.POSITIVE_INFINITY ? '+inf' : String(time)
}
