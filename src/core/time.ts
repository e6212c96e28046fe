/** Epoch seconds, with a fraction. Every room takes its clock as an argument. */
export type Clock = () => number

export const systemClock: Clock = () => Date.now() / 1000

const UNIT_SECONDS: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 }

/** `"300s"`, `"10m"`, `"8h"`, `"250ms"`, `"30d"` → seconds; `undefined` when it is none of these. */
export function parseDuration(text: string): number | undefined {
  const [, amount, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? []
  return amount === undefined || unit === undefined ? undefined : Number(amount) * (UNIT_SECONDS[unit] ?? 1)
}
