import type { Progress, Report } from '../app.ts'

interface Start {
  readonly done: Promise<void>
  readonly listeners: Set<Report>
  readonly controller: AbortController
  latest: Progress | undefined
}

/** Starts that are going on in this process: one for each name, joined by whoever asks for the same. */
export function createJoinedStarts() {
  const starts = new Map<string, Start>()

  function open(name: string, begin: (report: Report, signal: AbortSignal) => Promise<void>): Start {
    const listeners = new Set<Report>()
    const controller = new AbortController()
    const tell: Report = (progress) => {
      start.latest = progress
      for (const listener of listeners) listener(progress)
    }
    const done = Promise.resolve()
      .then(() => begin(tell, controller.signal))
      .finally(() => {
        if (starts.get(name) === start) starts.delete(name)
      })
    const start: Start = { done, listeners, controller, latest: undefined }
    starts.set(name, start)
    return start
  }

  return {
    isGoingOn: (name: string) => starts.has(name),

    /** Makes the start that goes on under this name end with `reason`; who asks from now on begins another. */
    abort(name: string, reason: Error): void {
      starts.get(name)?.controller.abort(reason)
      starts.delete(name)
    },

    /** Joins the start that goes on under this name, or begins one. Who joins late hears the latest progress at once. */
    async join(
      name: string,
      report: Report,
      begin: (report: Report, signal: AbortSignal) => Promise<void>,
    ): Promise<void> {
      const start = starts.get(name) ?? open(name, begin)
      start.listeners.add(report)
      if (start.latest !== undefined) report(start.latest)
      try {
        await start.done
      } finally {
        start.listeners.delete(report)
      }
    },
  }
}
