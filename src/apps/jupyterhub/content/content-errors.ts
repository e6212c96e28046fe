import {
  badGateway,
  forbidden,
  type GatewayError,
  gatewayTimeout,
  gone,
  notFound,
  unavailable,
} from '../../../core/errors.ts'
import { ResourceError, type ResourceFailure } from '../../../resources/resource.ts'
import { ContentsError } from './contents-client.ts'

/** Why one thing was left out, or not saved, as the end of a sentence for people. */
const WORDS: Record<ResourceFailure, string> = {
  'token-ended': 'your pass to it has ended; open the share again',
  forbidden: 'it does not allow that',
  missing: 'it is no longer there',
  changed: 'it was changed there meanwhile',
  misplaced: 'something else is in its place',
  locked: 'somebody has locked it there',
  'too-large': 'it is too large for it',
  full: 'there is no space left',
  refused: 'it refuses that',
  unreachable: 'it does not answer',
}

/** Words for people about a failure of one thing; `undefined` when it is no failure of a peer. */
export function wordsOf(error: unknown): string | undefined {
  if (error instanceof ResourceError) return WORDS[error.failure]
  if (!(error instanceof ContentsError)) return undefined
  return error.status === undefined
    ? 'the notebook server does not answer'
    : `the notebook server refuses it (${error.status})`
}

/** Whether it stands in the way of one thing only, and not of everything that follows. */
export function isAboutOne(error: unknown): boolean {
  if (error instanceof ContentsError) return error.isAboutPath
  return error instanceof ResourceError && !['token-ended', 'unreachable'].includes(error.failure)
}

/** A failure that keeps the whole content from coming, for who waits for it. */
export function bringFailure(error: unknown, senderDomain: string): unknown {
  if (error instanceof ContentsError) return contentsFailure(error)
  return error instanceof ResourceError ? resourceFailure(error, senderDomain) : error
}

function contentsFailure(cause: ContentsError): GatewayError {
  const { status, message } = cause
  const words = 'The notebook server is there, but does not take the shared files. Try again in a minute.'
  return badGateway('content_not_taken', words, { detail: { status, message }, cause })
}

function resourceFailure(cause: ResourceError, senderDomain: string): GatewayError {
  const { failure, status, message } = cause
  const details = { detail: { failure, status, message }, cause }
  switch (failure) {
    case 'token-ended':
      return gone(
        'content_token_ended',
        `${senderDomain} no longer accepts your pass to the shared files. Open the share again from your cloud.`,
        details,
      )
    case 'forbidden':
      return forbidden('content_forbidden', `${senderDomain} does not let this gateway read the shared files.`, details)
    case 'missing':
      return contentMissing(senderDomain, details)
    case 'unreachable':
      return unavailable(
        'content_unreachable',
        `${senderDomain}, where the shared files are, does not answer.`,
        details,
      )
    default:
      return badGateway('content_refused', `${senderDomain} does not hand out the shared files.`, details)
  }
}

export function contentMissing(senderDomain: string, details: object = {}): GatewayError {
  return notFound(
    'content_missing',
    `${senderDomain} says that there is nothing at the address of the shared files.`,
    details,
  )
}

export function contentTimeout(senderDomain: string, seconds: number): GatewayError {
  return gatewayTimeout(
    'content_timeout',
    `The shared files did not come from ${senderDomain} within ${Math.round(seconds / 60)} minutes. What has come is kept: try again to get the rest.`,
  )
}
