import { badGateway, type GatewayError, unavailable } from '../../core/errors.ts'

export function hubUnavailable(cause: unknown): GatewayError {
  return unavailable('hub_unavailable', 'The notebook service does not answer. Try again in a minute.', {
    detail: { cause: cause instanceof Error ? cause.message : cause },
    cause,
  })
}

export function hubMalformed(what: string, cause?: unknown): GatewayError {
  const message = 'The notebook service answers what no JupyterHub would. Its operator has to check apiUrl.'
  return badGateway('hub_malformed', message, { detail: { what }, cause })
}

interface Answer {
  /** The call, for the log. */
  readonly call: string
  readonly status: number
  readonly headers: Headers
  readonly words: string
}

/** A status that the call is not documented to have. */
export function hubRefusal({ call, status, headers, words }: Answer): GatewayError {
  const detail = { call, status, words }
  switch (status) {
    case 401:
    case 403:
      return badGateway(
        'hub_refused',
        'The notebook service refuses this gateway. Its operator has to check the API token and its scopes (admin:users, servers, tokens).',
        { detail },
      )
    case 429:
      return unavailable(
        'hub_busy',
        'The notebook service is busy with other people’s servers. Try again in a minute.',
        {
          retryAfterSeconds: Number(headers.get('retry-after')) || 60,
          detail,
        },
      )
    case 502:
    case 503:
    case 504:
      return hubUnavailable(`${call} answered ${status}`)
    default:
      return badGateway('hub_unexpected', `The notebook service could not do its part (${status}).`, { detail })
  }
}
