import { EventEmitter } from 'node:events'
import type { Request, Response } from 'express'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { RequestContext } from '../../../src/http/context.ts'
import { setContext } from '../../../src/http/context.ts'
import { createSessionRoutes, type SessionRouteParts } from '../../../src/http/session-routes.ts'
import { sessionOf } from '../fixtures.ts'
import { requestOf } from './requests.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it('the events of a start end with the client: nothing is written after that', async () => {
  const start = Promise.withResolvers<string>()
  const site = { app: { prepare: () => start.promise } }
  const authenticate = async () => ({ session: sessionOf(), ended: undefined, appCookies: '' })
  const routes = createSessionRoutes({ authenticate, cookiePrefix: 'ocm' } as unknown as SessionRouteParts)
  const req = requestOf('GET')
  setContext(req, { place: { site, scope: '/notes/' } } as unknown as RequestContext)
  const written: string[] = []
  const res = Object.assign(new EventEmitter(), {
    writeHead: () => res,
    write: (text: string) => written.push(text),
    end: () => {},
  })
  const going = routes.startingEvents(req as Request, res as unknown as Response, () => {})
  await vi.advanceTimersByTimeAsync(25_000)
  expect(written).toEqual([': waiting\n\n', ': waiting\n\n'])
  res.emit('close')
  await vi.advanceTimersByTimeAsync(60_000)
  expect([written.length, vi.getTimerCount()]).toEqual([2, 0])
  start.resolve('/notes/')
  await going
})
