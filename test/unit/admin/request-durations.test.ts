import { Histogram, Registry } from 'prom-client'
import { expect, it } from 'vitest'
import { createRequestDurations } from '../../../src/admin/request-durations.ts'

const ABOUT = { name: 'durations_seconds', help: 'How long', buckets: [0.001, 0.5, 10] }

it('request durations are told exactly as prom-client tells them', async () => {
  const [theirs, ours] = [new Registry(), new Registry()]
  const histogram = new Histogram({ ...ABOUT, labelNames: ['webapp'], registers: [theirs] })
  const durations = createRequestDurations(ours, ABOUT)
  for (const [webapp, seconds] of [
    ['notes', 0.0004],
    ['notes', 0.001],
    ['notes', 0.0011],
    ['hub', 10],
    ['hub', 10.1],
    ['notes', 0],
  ] as const) {
    histogram.observe({ webapp }, seconds)
    durations.observe(webapp, seconds)
  }
  const lines = async (registry: Registry) => (await registry.metrics()).split('\n').toSorted()
  expect(await lines(ours)).toEqual(await lines(theirs))
})
