import { Counter, Histogram, Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { createRequestMetrics } from '../../../src/admin/request-metrics.ts'

const TOTAL = { name: 'requests_total', help: 'How many' }
const DURATION = { name: 'durations_seconds', help: 'How long' }
const BUCKETS = [0.001, 0.5, 10]

it('proxied requests are told exactly as prom-client tells them', async () => {
  const [theirs, ours] = [new Registry(), new Registry()]
  const registers = [theirs]
  const counter = new Counter({ ...TOTAL, labelNames: ['webapp', 'code'], registers })
  const histogram = new Histogram({ ...DURATION, labelNames: ['webapp'], buckets: BUCKETS, registers })
  const metrics = createRequestMetrics(ours, { total: TOTAL, duration: DURATION, buckets: BUCKETS })
  for (const [webapp, code, seconds] of [
    ['notes', 200, 0.0004],
    ['notes', 200, 0.001],
    ['notes', 304, 0.0011],
    ['hub', 200, 10],
    ['hub', 502, 10.1],
    ['notes', 200, 0],
  ] as const) {
    counter.inc({ webapp, code })
    histogram.observe({ webapp }, seconds)
    metrics.observe(webapp, code, seconds)
  }
  const lines = async (registry: Registry) => (await registry.metrics()).split('\n').toSorted()
  expect(await lines(ours)).toEqual(await lines(theirs))
})
