import { expect, it } from 'vitest'
import { partsOf } from './rules.ts'

const node = (id: number, functionName: string, url: string, children: number[] = []) => ({
  id,
  callFrame: { functionName, url },
  children,
})

const PROFILE = {
  nodes: [
    node(1, '(root)', '', [2, 3, 4, 5, 6]),
    node(2, '(idle)', ''),
    node(3, 'requestHeaders', 'file:///x/.cache/bench/proxy/request-headers.js', [7]),
    node(4, '(garbage collector)', ''),
    node(5, 'dispatch', 'file:///x/node_modules/undici/lib/dispatcher/pool.js'),
    node(6, 'somebody', 'file:///x/node_modules/pino/pino.js'),
    node(7, 'test', ''),
  ],
  startTime: 1000,
  samples: [5, 3, 7, 2, 4, 5, 6, 5],
  timeDeltas: [0, 10, 20, 30, 40, 50, 60, 70],
}

it('a sample counts until the next one, for the file that it is in or was called from', () => {
  const parts = partsOf(PROFILE, { from: 0, to: Number.POSITIVE_INFINITY, units: 10 })
  expect(parts).toEqual({
    'headers for the app': 5,
    undici: 7,
    'garbage collection': 5,
    elsewhere: 7,
  })
})

it('only what was sampled while requests came counts', () => {
  expect(partsOf(PROFILE, { from: 1005, to: 1035, units: 1 })).toEqual({ 'headers for the app': 50 })
})
