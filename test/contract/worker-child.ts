import { createLine } from '../../src/core/line.ts'
import { openStore } from '../../src/store/open.ts'
import type { Store } from '../../src/store/store.ts'
import { START } from './store.ts'

/** One worker on a SQLite file, which does what the process that forked it says. Usage: worker-child.ts <file> */
const [file = ''] = process.argv.slice(2)
let [isToDie, isMute] = [false, false]
const line = createLine({
  send(message) {
    isMute ||= isToDie && 'name' in message && message.name === 'tell'
    if (!isMute) process.send?.(message)
  },
  receive: (listener) => void process.on('message', listener),
})
const store = await openStore({ kind: 'sqlite', file }, { now: () => START, primary: line })
const heard: string[] = []
store.bus.subscribe(({ type }) => heard.push(type))

type Operation = (...args: unknown[]) => Promise<unknown>
const held = Promise.withResolvers<void>()

line.handle({
  /** `room.operation` of the store. */
  run({ operation, args }: { operation: string; args: unknown[] }) {
    const [room = '', name = ''] = operation.split('.')
    const operations = store[room as keyof Store] as unknown as Record<string, Operation>
    return operations[name]?.(...args)
  },
  heard: () => heard.splice(0),
  /** Holds a lock until it is told to `release`. */
  hold: (name: string) =>
    new Promise<void>((holds) => {
      void store.lock(name, 10, () => {
        holds()
        return held.promise
      })
    }),
  release: () => held.resolve(),
  /** Does nothing at all for so many milliseconds. */
  hang: (milliseconds: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds),
  /** What it tells next is lost, and all that it says after it. */
  dieTelling() {
    isToDie = true
  },
})
await line.ask('opened')
