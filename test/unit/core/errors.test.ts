import { describe, expect, it } from 'vitest'
import { asGatewayError, badRequest, invalidToken, unavailable } from '../../../src/core/errors.ts'

describe('an error', () => {
  it('that we chose keeps its status, reason and message', () => {
    const chosen = badRequest('field_missing', 'A field is missing.', { detail: { field: 'a' } })
    expect(asGatewayError(chosen)).toBe(chosen)
    expect(chosen).toMatchObject({
      status: 400,
      reason: 'field_missing',
      detail: { field: 'a' },
      bearerError: undefined,
    })
    expect(invalidToken('a', 'b').bearerError).toBe('invalid_token')
  })

  it('of ours becomes a 500 of which nothing is public', () => {
    const bug = new TypeError('secret thing is undefined')
    const error = asGatewayError(bug)
    expect(error).toMatchObject({ status: 500, reason: 'internal_error', cause: bug })
    expect(error.message).not.toContain('secret')
    for (const thrown of [undefined, null, 'text', 7]) expect(asGatewayError(thrown).status).toBe(500)
  })

  it('of a part that is down always says when to come back', () => {
    expect(unavailable('a', 'b').retryAfterSeconds).toBe(10)
    expect(unavailable('a', 'b', { retryAfterSeconds: 3600 }).retryAfterSeconds).toBe(3600)
  })
})
