import type { Histogram, MetricValueWithName, Registry } from 'prom-client'

interface Tally {
  /** How many had each status code. */
  readonly codes: Map<number, number>
  /** How many were at most as long as each bound, and longer than the one before; then those that were longer than all. */
  readonly counts: number[]
  sum: number
}

interface About {
  readonly name: string
  readonly help: string
}

/**
 * What happens with every proxied request, as Prometheus knows it: a counter by webapp and status code, and a histogram of
 * seconds by webapp. What prom-client’s own do for one value takes longer than all the rules that the request goes through.
 */
export function createRequestMetrics(
  registry: Registry,
  { total, duration, buckets }: { total: About; duration: About; buckets: readonly number[] },
) {
  const tallies = new Map<string, Tally>()

  function durationsOf(webapp: string, { counts, sum }: Tally): MetricValueWithName<string>[] {
    const { name } = duration
    let upTo = 0
    const below = counts.map((count, index) => {
      upTo += count
      return { metricName: `${name}_bucket`, labels: { le: buckets[index] ?? '+Inf', webapp }, value: upTo }
    })
    return [
      ...below,
      { metricName: `${name}_sum`, labels: { webapp }, value: sum },
      { metricName: `${name}_count`, labels: { webapp }, value: upTo },
    ]
  }

  function totalsOf(webapp: string, { codes }: Tally): MetricValueWithName<string>[] {
    return [...codes].map(([code, value]) => ({ metricName: total.name, labels: { webapp, code }, value }))
  }

  function register(about: About, type: string, valuesOf: (webapp: string, tally: Tally) => unknown[]): void {
    const get = async () => {
      const values = [...tallies].flatMap(([webapp, tally]) => valuesOf(webapp, tally))
      return { ...about, type, aggregator: 'sum', values }
    }
    registry.registerMetric({ name: about.name, get } as unknown as Histogram)
  }

  register(total, 'counter', totalsOf)
  register(duration, 'histogram', durationsOf)

  function startTally(webapp: string): Tally {
    const tally = { codes: new Map(), counts: [...buckets, Infinity].map(() => 0), sum: 0 }
    tallies.set(webapp, tally)
    return tally
  }

  return {
    observe(webapp: string, code: number, seconds: number): void {
      const tally = tallies.get(webapp) ?? startTally(webapp)
      tally.codes.set(code, (tally.codes.get(code) ?? 0) + 1)
      tally.sum += seconds
      let bucket = 0
      while (seconds > (buckets[bucket] ?? Infinity)) bucket += 1
      tally.counts[bucket] = (tally.counts[bucket] ?? 0) + 1
    },
  }
}
