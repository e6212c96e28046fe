import { createServer } from 'node:net'
import { expect, it } from 'vitest'
import { listening } from '../serving.ts'
import { acceptance, firstMessage } from './handshakes.ts'

/** An app whose first message is in the same packet as its 101. */
function startHastyApp(message: string): Promise<number> {
  return listening(
    createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', (request) => {
        const key = /sec-websocket-key: (.*)\r\n/i.exec(String(request))?.[1]
        socket.write(acceptance(key, message))
      })
    }),
  )
}

it('what an app sends together with its 101 reaches the browser', async () => {
  const app = await startHastyApp('first words')
  expect(await firstMessage(`http://127.0.0.1:${app}/`, 'app')).toBe('first words')
})
