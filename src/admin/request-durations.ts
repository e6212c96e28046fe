import type { Histogram, MetricValueWithName, Registry } from 'prom-client'

interface Tally {
  /** How many were at most as long as each bound, and longer than the one before. */
  readonly counts: number[]
  sum: number
  count: number
}

/**
 * A Prometheus histogram by webapp, in seconds, for what happens with every request: what prom-client’s own does for one
 * value takes longer than all the rules that the request goes through.
 */
export function createRequestDurations(
  registry: Registry,
  { name, help, buckets }: { name: string; help: string; buckets: readonly number[] },
) {
  const tallies = new Map<string, Tally>()

  function valuesOf(webapp: string, { counts, sum, count }: Tally): MetricValueWithName<string>[] {
    let upTo = 0
    const below = buckets.map((le, index) => {
      upTo += counts[index] ?? 0
      return { metricName: `${name}_bucket`, labels: { le, webapp }, value: upTo }
    })
    return [
      ...below,
      { metricName: `${name}_bucket`, labels: { le: '+Inf', webapp }, value: count },
      { metricName: `${name}_sum`, labels: { webapp }, value: sum },
      { metricName: `${name}_count`, labels: { webapp }, value: count },
    ]
  }

  const get = async () => {
    const values = [...tallies].flatMap(([webapp, tally]) => valuesOf(webapp, tally))
    return { name, help, type: 'histogram', aggregator: 'sum', values }
  }
  registry.registerMetric({ name, get } as unknown as Histogram)

  return {
    observe(webapp: string, seconds: number): void {
      const tally = tallies.get(webapp) ?? { counts: buckets.map(() => 0), sum: 0, count: 0 }
      tallies.set(webapp, tally)
      tally.sum += seconds
      tally.count += 1
      let bucket = 0
      while (seconds > (buckets[bucket] ?? Infinity)) bucket += 1
      tally.counts[bucket] = (tally.counts[bucket] ?? 0) + 1
    },
  }
}
