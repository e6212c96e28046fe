import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { createLog } from '../../../src/core/events.ts'
import { Secret } from '../../../src/core/secret.ts'

describe('a secret', () => {
  const secret = new Secret('hunter2')

  it('shows itself only when it is asked to', () => {
    expect(secret.reveal()).toBe('hunter2')
  })

  it.each([
    ['in text', (value: unknown) => `${value}`],
    ['in JSON', (value: unknown) => JSON.stringify({ value })],
    ['inspected', (value: unknown) => inspect({ value }, { depth: 9, showHidden: true })],
    ['spread', (value: unknown) => JSON.stringify({ ...(value as object) })],
    ['by its keys', (value: unknown) => Reflect.ownKeys(value as object).join()],
  ])('is not there %s', (_how, show) => {
    expect(show(secret)).not.toContain('hunter2')
  })

  it('is not there in a log line', () => {
    const lines: string[] = []
    createLog({ level: 'info', destination: { write: (line: string) => void lines.push(line) } }).info(
      { secret },
      `${secret}`,
    )
    expect(lines.join()).toContain('[redacted]')
    expect(lines.join()).not.toContain('hunter2')
  })
})
