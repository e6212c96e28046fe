/** The other end of a channel between two processes: messages arrive whole and in order, or the channel has ended. */
export interface Port {
  /** Must not throw: what cannot be delivered is lost with the channel. */
  send(message: object): void
  receive(listener: (message: unknown) => void): void
}

type Handlers = Readonly<Record<string, (body: never) => unknown>>

type Message =
  | { readonly ask: number; readonly name: string; readonly body: unknown }
  | { readonly answered: number; readonly body: unknown }
  | { readonly answered: number; readonly problem: string }

interface Waiting {
  resolve(body: unknown): void
  reject(error: Error): void
}

export type Line = ReturnType<typeof createLine>

/**
 * Questions and answers in both directions. Questions arrive in the order in which they were asked, and a handler begins
 * with one before it sees the next. Of an error only its message is passed on.
 *
 * Does NOT limit the time of an answer, and does NOT check who is at the other end: it is a process that we started, or
 * that started us.
 */
export function createLine(port: Port) {
  const handlers = new Map<string, Handlers[string]>()
  const waiting = new Map<number, Waiting>()
  let asked = 0
  let ended: Error | undefined

  async function answer(ask: number, name: string, body: unknown): Promise<void> {
    try {
      const handle = handlers.get(name)
      if (handle === undefined) throw new Error(`nobody answers to ${name}`)
      port.send({ answered: ask, body: await handle(body as never) })
    } catch (error) {
      port.send({ answered: ask, problem: (error as Error).message })
    }
  }

  port.receive((received) => {
    const message = received as Message
    if ('ask' in message) return void answer(message.ask, message.name, message.body)
    const asker = waiting.get(message.answered)
    waiting.delete(message.answered)
    if ('problem' in message) asker?.reject(new Error(message.problem))
    else asker?.resolve(message.body)
  })

  return {
    /** Says what to do with questions of these names. */
    handle(named: Handlers): void {
      for (const [name, handler] of Object.entries(named)) handlers.set(name, handler)
    },

    /** Asks at once. Rejects with what the handler threw, or when the other end is gone. */
    ask<Answer = void>(name: string, body?: unknown): Promise<Answer> {
      if (ended !== undefined) return Promise.reject(ended)
      asked += 1
      const ask = asked
      return new Promise<Answer>((resolve, reject) => {
        waiting.set(ask, { resolve: resolve as Waiting['resolve'], reject })
        port.send({ ask, name, body })
      })
    },

    hasEnded: (): boolean => ended !== undefined,

    /** The other end is gone: whoever waits for an answer learns it, and whoever asks from now on. */
    end(): void {
      ended = new Error('the other process is gone')
      for (const { reject } of waiting.values()) reject(ended)
      waiting.clear()
    },
  }
}
