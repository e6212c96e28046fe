/** What is told of a span: never a path, a query, or who it is about. */
export type Attributes = Readonly<Record<string, string | number>>

/** Something that takes its time, in a trace. */
export interface Span {
  /** What begins while `work` runs is a part of it. */
  run<T>(work: () => T): T
  /** @param error why it failed, if it did */
  end(attributes?: Attributes, error?: unknown): void
}

/** Tells how requests spend their time, and what they have to do with those of others (W3C Trace Context). */
export interface Tracing {
  /** A request that we serve; it goes on with the caller’s trace. */
  serving(headers: Readonly<Record<string, string | string[] | undefined>>, attributes: Attributes): Span
  /** A request that we make. */
  asking(name: string, attributes: Attributes): Span
  /** What a request to another server says about the span that runs now: `traceparent`, `tracestate`. Names lower case. */
  headers(): Readonly<Record<string, string>>
  /** Says of the request that is being served what it turned out to be. */
  describe(name: string, attributes: Attributes): void
  /** A part of what runs now that has just ended. */
  past(name: string, seconds: number): void
  /** Sends what has not been sent. */
  close(): Promise<void>
}

const NOTHING = {}

/**
 * Makes a request to another server as a span of its own.
 *
 * @param ask given the headers that tell the other server of it
 */
export function asking<T>(
  tracing: Tracing | undefined,
  { name, ...attributes }: { name: string } & Attributes,
  ask: (headers: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  return tracing === undefined ? ask(NOTHING) : askWithin(tracing, tracing.asking(name, attributes), ask)
}

async function askWithin<T>(
  tracing: Tracing,
  span: Span,
  ask: (headers: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  try {
    const answer = await span.run(() => ask(tracing.headers()))
    span.end()
    return answer
  } catch (error) {
    span.end(undefined, error)
    throw error
  }
}
