import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue, type Registry } from 'prom-client'

/** What one process counted: `getMetricsAsJSON` of its registry. */
export type Counted = MetricObjectWithValues<MetricValue<string>>[]

/**
 * The metrics of several processes as one: sums, but for what all of them read from the store, and the lag of the slowest
 * event loop and the first start. What a process counted stays counted when it is gone, as of the last time that it was asked.
 *
 * @param own of this process
 * @param ask the others; each answers what it counted
 */
export function createWorkerMetrics(own: Registry, ask: () => Promise<readonly Counted[]>) {
  let past: Counted = []
  return {
    contentType: own.contentType,

    async metrics(): Promise<string> {
      const all = [...(await ask()), past, await own.getMetricsAsJSON()]
      return AggregatorRegistry.aggregate(all.map(aggregatedOurWay)).metrics()
    },

    /** A process that had counted this is gone. */
    async keep(counted: Counted): Promise<void> {
      const lasting = counted.filter(({ type }) => String(type) === 'counter' || String(type) === 'histogram')
      past = await AggregatorRegistry.aggregate([past, lasting]).getMetricsAsJSON()
    },
  }
}

/** prom-client would take the average lag, which hides a slow process, and no start at all. */
function aggregatedOurWay(counted: Counted): Counted {
  return counted.map((metric) => {
    if (metric.name.includes('eventloop_lag')) return { ...metric, aggregator: 'max' }
    return metric.name.endsWith('process_start_time_seconds') ? { ...metric, aggregator: 'min' } : metric
  })
}
