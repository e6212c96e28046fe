import type { Histogram, MetricValueWithName, Registry } from 'prom-client'

interface Tally {
  /** How many had each status code. */
  readonly codes: Map<number, number>
  /** How many were at most as long as each bound, and longer than the one before. */
  readonly counts: number[]
  sum: number
  count: number
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

  function durationsOf(webapp: string, { counts, sum, count }: Tally): MetricValueWithName<string>[] {
    const { name } = duration
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

  return {
    observe(webapp: string, code: number, seconds: number): void {
      const tally = tallies.get(webapp) ?? { codes: new Map(), counts: buckets.map(() => 0), sum: 0, count: 0 }
      tallies.set(webapp, tally)
      tally.codes.set(code, (tally.codes.get(code) ?? 0) + 1)
      tally.sum += seconds
      tally.count += 1
      let bucket = 0
      while (seconds > (buckets[bucket] ?? Infinity)) bucket += 1
      tally.counts[bucket] = (tally.counts[bucket] ?? 0) + 1
    },
  }
}
