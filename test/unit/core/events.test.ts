import { expect, it } from 'vitest'
import { createEvents, createLog } from '../../../src/core/events.ts'

it('an event is one JSON line with its name and level as a word, and every observer hears it', () => {
  const lines: string[] = []
  const events = createEvents(
    createLog({ level: 'info', destination: { write: (line: string) => void lines.push(line) } }),
  )
  const heard: unknown[] = []
  events.observe((event, fields) => heard.push([event, fields]))
  events.shareClosed({ requestId: 'r', sessions: 2 })
  events.webSocketOpened({ webapp: 'notes' })
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { level: 'info', time: expect.any(Number), event: 'share.closed', requestId: 'r', sessions: 2 },
  ])
  expect(heard).toEqual([
    ['share.closed', { requestId: 'r', sessions: 2 }],
    ['websocket.opened', { webapp: 'notes' }],
  ])
})
