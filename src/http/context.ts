import type { IncomingMessage } from 'node:http'
import type { Target } from '../proxy/target.ts'
import type { Client } from './client.ts'
import type { Place } from './places.ts'

/** What is known of a request of our own before its handler runs; handlers add what they verify. */
export interface RequestContext {
  readonly requestId: string
  readonly client: Client
  readonly target: Target
  readonly place: Extract<Place, { kind: 'own' }>
  /** Who may frame the answer: anybody, until a token’s signature has told who the Receiving Server is. */
  frameAncestors: readonly string[]
  /** A verified way back to the Receiving Server. */
  returnUri: string | undefined
  senderDomain: string | undefined
  shareId: string | undefined
  /** The OCM address in a verified token. */
  user?: string
}

const contexts = new WeakMap<IncomingMessage, RequestContext>()

export function setContext(req: IncomingMessage, context: RequestContext): void {
  contexts.set(req, context)
}

/** @throws {Error} for a request that did not come through the server: a bug of ours */
export function contextOf(req: IncomingMessage): RequestContext {
  const context = contexts.get(req)
  if (context === undefined) throw new Error('the request has no context')
  return context
}

/** The ids that every event about this request carries. */
export function decisionOf({ requestId, place, senderDomain, shareId, user }: RequestContext) {
  const webapp = place.site?.app.webapp.name
  const named = { ...(senderDomain && { senderDomain }), ...(shareId && { shareId }), ...(user && { user }) }
  return { requestId, ...(webapp && { webapp }), ...named }
}
