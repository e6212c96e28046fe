/**
 * Loaded into a process before its program (`node --import`): every date it asks for is off by `CLOCK_OFF_SECONDS`. What
 * measures time that passes, timers and `performance.now()`, is as it was; so it is on a machine whose clock is wrong.
 */
const offset = Number(process.env.CLOCK_OFF_SECONDS) * 1000
const RightDate = Date
const now = () => RightDate.now() + offset

globalThis.Date = new Proxy(RightDate, {
  get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
  apply: () => new RightDate(now()).toString(),
})
