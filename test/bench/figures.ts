/** The middle of several samples, and how far they lie apart. */
export interface Figure {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** @throws {RangeError} for no samples at all */
export function figureOf(samples: readonly number[]): Figure {
  const sorted = samples.toSorted((a, b) => a - b)
  const [min, max] = [sorted[0], sorted.at(-1)]
  if (min === undefined || max === undefined) throw new RangeError('a figure needs a sample')
  const upper = sorted[Math.floor(sorted.length / 2)] ?? min
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? min
  return { median: (lower + upper) / 2, min, max }
}

/** The smallest sample that no more than the rest of them exceed. @param share 0.5 for the median */
export function quantileOf(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
}

/** How far the samples lie apart, as a share of their median. */
export function spreadOf({ median, min, max }: Figure): number {
  return (max - min) / median
}

/** `12.3 (11.9–13.0)`. */
export function showFigure({ median, min, max }: Figure): string {
  return `${showNumber(median)} (${showNumber(min)}–${showNumber(max)})`
}

export function showNumber(value: number): string {
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)
}

/** Columns as wide as their widest cell; all but the first to the right. */
export function showTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('   ')
  return rows.map((row) => line(row).trimEnd()).join('\n')
}
