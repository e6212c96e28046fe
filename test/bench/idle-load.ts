import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { APP_BASE, type Headers } from './workloads.ts'

/** Opens WebSockets through one way to the app and keeps them open, until it is told to open more; as a process of its own. */

/** So many more than there are. */
export interface Opening {
  readonly port: number
  readonly headers: Headers
  readonly count: number
}

const AT_ONCE = 32
const open: Socket[] = []

function handshakeText({ Host = '', ...headers }: Headers): string {
  const upgrade = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13' }
  const own = { ...upgrade, 'Sec-WebSocket-Key': randomBytes(16).toString('base64'), Origin: `http://${Host}` }
  const lines = Object.entries({ Host, ...headers, ...own }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${APP_BASE}echo HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** @throws {Error} when the answer is not a 101 */
function openSocket({ port, headers }: Opening): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('connect', () => socket.write(handshakeText(headers)))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('an idle WebSocket was closed')))
    socket.once('data', (chunk: Buffer) => {
      const head = chunk.toString('latin1')
      if (head.startsWith('HTTP/1.1 101 ')) resolve(socket)
      else reject(new Error(`a WebSocket was refused:\n${head}`))
    })
  })
}

async function openMany(wish: Opening): Promise<number> {
  let left = wish.count
  const oneAfterTheOther = async () => {
    while (left > 0) {
      left -= 1
      open.push(await openSocket(wish))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, oneAfterTheOther))
  return open.length
}

process.on('message', async (wish: Opening) => process.send?.(await openMany(wish)))
process.once('disconnect', () => process.exit())
