import type { ErrorRequestHandler } from 'express'
import { asGatewayError, badRequest, GatewayError, tooLarge, unsupportedMediaType } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { contextOf, decisionOf } from './context.ts'
import { acceptsHtml } from './cross-site.ts'
import { errorPage } from './pages/message-page.ts'
import type { Operation } from './places.ts'
import { PROBLEM_JSON, problem, refusalHeaders, sendJson, sendPage } from './send.ts'

const BACK_CHANNEL: readonly Operation[] = ['shares', 'revoke', 'close', 'liveness', 'jwks']

/** The one place where an error of our own endpoints becomes HTTP: a page for people, problem+json for programs. */
export function createErrorHandler(events: Events): ErrorRequestHandler {
  return (thrown: unknown, req, res, next) => {
    const context = contextOf(req)
    const error = asGatewayError(fromBodyParser(thrown))
    report(events, error, context, req.method)
    if (res.headersSent) return next(error)
    const { operation } = context.place
    const { requestId, frameAncestors, returnUri } = context
    res.set(refusalHeaders(error))
    const asPage = operation === 'launch' ? !prefersJson(req.headers.accept) : acceptsHtml(req.headers.accept)
    if (asPage && !BACK_CHANNEL.includes(operation))
      return sendPage(res, error.status, errorPage(error, { requestId, returnUri, frameAncestors }))
    sendJson(res, error.status, problem(error, requestId), PROBLEM_JSON)
  }
}

function report(events: Events, error: GatewayError, context: ReturnType<typeof contextOf>, method: string): void {
  const { operation } = context.place
  const { reason, status, message, detail, cause } = error
  const facts = { ...decisionOf(context), reason, status, message, detail }
  if (status === 500) events.unexpected({ requestId: context.requestId, where: operation, err: cause ?? error })
  if (operation === 'launch') events.launchRefused(facts)
  else if (BACK_CHANNEL.includes(operation)) events.integrationRefused({ ...facts, operation })
  else events.requestRefused({ ...facts, method })
}

function prefersJson(accept: string | undefined): boolean {
  return accept !== undefined && /application\/(problem\+)?json/i.test(accept) && !acceptsHtml(accept)
}

/** body-parser’s errors, by their documented `type`, as refusals of ours. */
function fromBodyParser(thrown: unknown): unknown {
  if (thrown instanceof GatewayError || typeof thrown !== 'object' || thrown === null || !('type' in thrown))
    return thrown
  switch (thrown.type) {
    case 'entity.too.large':
      return tooLarge('body_too_large', 'The body is larger than this gateway accepts.')
    case 'encoding.unsupported':
    case 'charset.unsupported':
      return unsupportedMediaType('encoding_unsupported', 'The body must be plain UTF-8, without Content-Encoding.')
    default:
      return badRequest('body_unreadable', 'The body could not be read.')
  }
}
