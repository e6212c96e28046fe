interface Details {
  /** For our log only: ids and values that help the operator. Never a token or a secret. */
  readonly detail?: Record<string, unknown>
  readonly retryAfterSeconds?: number
  readonly cause?: unknown
}

/**
 * A refusal we chose to give. `message` is public: it names the check that failed and what would be right, and never
 * contains a token, a secret, or anything the person it is shown to may not know.
 */
export class GatewayError extends Error {
  /** HTTP status; used for plain requests and refused upgrades alike. */
  readonly status: number
  /** Stable code for logs, metrics and `problem+json`. */
  readonly reason: string
  readonly detail: Record<string, unknown>
  readonly retryAfterSeconds: number | undefined
  /** RFC 6750 §3.1 error code, when the refusal is about an access token. */
  readonly bearerError: 'invalid_request' | 'invalid_token' | 'insufficient_scope' | undefined

  constructor(
    status: number,
    reason: string,
    message: string,
    { detail = {}, retryAfterSeconds, cause }: Details = {},
    bearerError?: GatewayError['bearerError'],
  ) {
    super(message, { cause })
    this.name = 'GatewayError'
    this.status = status
    this.reason = reason
    this.detail = detail
    this.retryAfterSeconds = retryAfterSeconds
    this.bearerError = bearerError
  }
}

type Refuse = (reason: string, message: string, details?: Details) => GatewayError

const refusal =
  (status: number): Refuse =>
  (reason, message, details) =>
    new GatewayError(status, reason, message, details)

export const badRequest = refusal(400)
/** 401 on the back channel, or without a session: no access token is involved. */
export const unauthorized = refusal(401)
/** 401 for an access token that is not acceptable (RFC 6750 §3.1 `invalid_token`). */
export const invalidToken: Refuse = (reason, message, details) =>
  new GatewayError(401, reason, message, details, 'invalid_token')
export const forbidden = refusal(403)
export const notFound = refusal(404)
export const gone = refusal(410)
export const tooLarge = refusal(413)
export const unsupportedMediaType = refusal(415)
export const misdirected = refusal(421)
export const tooManyRequests = refusal(429)
export const badGateway = refusal(502)
export const gatewayTimeout = refusal(504)
/** 503: it is our side that cannot answer now. Always says when to come back. */
export const unavailable: Refuse = (reason, message, details) =>
  new GatewayError(503, reason, message, { retryAfterSeconds: 10, ...details })

/** Any thrown value as the refusal it stands for. What is not a `GatewayError` is our bug: 500, nothing of it is public. */
export function asGatewayError(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  return new GatewayError(500, 'internal_error', 'Something went wrong inside the gateway.', { cause: error })
}
