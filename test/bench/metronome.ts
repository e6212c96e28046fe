import { parentPort, workerData } from 'node:worker_threads'

/** A thread that says when the next request is due: the timers of an event loop are a millisecond late, or more. */

/** Times are nanoseconds of `process.hrtime`, which all threads have in common. */
export interface Beats {
  readonly startsAt: bigint
  readonly interval: number
  readonly count: number
}

const { startsAt, interval, count } = workerData as Beats
const cell = new Int32Array(new SharedArrayBuffer(4))
for (let beat = 0; beat < count; beat += 1) {
  const left = Number(startsAt - process.hrtime.bigint()) + beat * interval
  if (left > 0) Atomics.wait(cell, 0, 0, left / 1e6)
  parentPort?.postMessage(beat)
}
