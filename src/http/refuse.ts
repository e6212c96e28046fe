import type { Duplex } from 'node:stream'
import type { GatewayError } from '../core/errors.ts'
import { refuseUpgrade } from '../proxy/forward.ts'
import { PROBLEM_JSON, problem, refusalHeaders } from './send.ts'

/** A refusal where there is only a socket: a handshake, or a request that the parser gave up on. */
export function refuseWith(socket: Duplex, error: GatewayError, requestId: string): void {
  refuseUpgrade(
    socket,
    error.status,
    { 'content-type': PROBLEM_JSON, ...refusalHeaders(error) },
    JSON.stringify(problem(error, requestId)),
  )
}
