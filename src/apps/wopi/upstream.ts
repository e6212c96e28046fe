import { GatewayError, notFound, tooLarge, unauthorized } from '../../core/errors.ts'
import { ResourceError } from '../../resources/resource.ts'

/** What the sender’s refusal means to an editor: never 403, which editors do not understand. */
export function asWopiError(error: unknown): unknown {
  if (!(error instanceof ResourceError)) return error
  const details = { cause: error, detail: { failure: error.failure, upstreamStatus: error.status } }
  switch (error.failure) {
    case 'token-ended':
      return unauthorized('sender_token_ended', 'The sender no longer accepts the access token.', details)
    case 'forbidden':
      return unauthorized('sender_forbids', 'The sender does not allow this.', details)
    case 'missing':
      return notFound('sender_lacks_file', 'The file is not there any more.', details)
    case 'locked':
      return new GatewayError(423, 'sender_locked', 'The file is locked at the sender.', details)
    case 'too-large':
    case 'full':
      return tooLarge('sender_full', 'The sender has no room for it.', details)
    default:
      return new GatewayError(500, 'sender_failed', 'The sender did not do it.', details)
  }
}
