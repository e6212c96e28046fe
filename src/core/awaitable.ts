/** Known now, or later: where a request finds everything in memory, promises would cost it more than all its rules. */
export type Awaitable<T> = T | Promise<T>

/** Goes on at once with what is known, and later with what is not. */
export function andThen<T, Next>(value: Awaitable<T>, next: (value: T) => Awaitable<Next>): Awaitable<Next> {
  return value instanceof Promise ? value.then(next) : next(value)
}
