import { expect, it } from 'vitest'
import { createEvents, createLog } from '../../../src/core/events.ts'

it('an event is one JSON line with its name and level as a word, and every observer hears it', () => {
  const lines: string[] = []
  const events = createEvents(
    createLog({ level: 'info', destination: { write: (line: string) => void lines.push(line) } }),
  )
  const heard: unknown[] = []
  events.observe((event, fields) => heard.push([event, fields]))
  events.toleranceUsed({ senderDomain: 'cloud.example', tolerance: 'untyped-tokens' })
  events.webSocketOpened({ webapp: 'notes' })
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    {
      level: 'warn',
      time: expect.any(Number),
      event: 'tolerance.used',
      senderDomain: 'cloud.example',
      tolerance: 'untyped-tokens',
    },
  ])
  expect(heard).toEqual([
    ['tolerance.used', { senderDomain: 'cloud.example', tolerance: 'untyped-tokens' }],
    ['websocket.opened', { webapp: 'notes' }],
  ])
})

it('what is part of the audit says so, and calls people by pseudonyms when it shall, but not the observers', () => {
  const lines: string[] = []
  const log = createLog({ level: 'info', destination: { write: (line: string) => void lines.push(line) } })
  const events = createEvents(log, () => (name) => `~${name.length}`)
  const heard: unknown[] = []
  events.observe((_event, fields) => heard.push(fields))
  events.shareClosed({ requestId: 'r', user: 'bob@cloud.example', sessions: 2 })
  events.launchRefused({ requestId: 'r', reason: 'owner_mismatch', detail: { sub: 'alice', kid: 'k' } })
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { event: 'share.closed', audit: true, user: '~17', sessions: 2 },
    { event: 'launch.refused', audit: true, detail: { sub: '~5', kid: 'k' } },
  ])
  expect(heard[0]).toMatchObject({ user: 'bob@cloud.example' })
})
