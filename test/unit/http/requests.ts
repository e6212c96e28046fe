import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'

/** A request as Node hands it over, without a connection. */
export function requestOf(
  method: string,
  headers: Readonly<Record<string, string>> = {},
  remoteAddress = '203.0.113.9',
): IncomingMessage {
  const socket = Object.defineProperty(new Socket(), 'remoteAddress', { value: remoteAddress })
  const request = new IncomingMessage(socket)
  return Object.assign(request, { method, headers })
}
