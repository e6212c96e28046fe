import type { ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { AppAnswer } from '../apps/app.ts'
import type { GatewayError } from '../core/errors.ts'
import { type Page, renderPage } from './pages/layout.ts'

export function sendPage(res: ServerResponse, status: number, page: Page): void {
  const { headers, markup } = renderPage(page)
  res.writeHead(status, headers).end(markup)
}

export function sendJson(res: ServerResponse, status: number, value: unknown, contentType = 'application/json'): void {
  res
    .writeHead(status, {
      'content-type': contentType,
      'cache-control': 'no-store',
      'content-security-policy': NEVER_FRAMED,
    })
    .end(JSON.stringify(value))
}

/** What a kind answers, as HTTP. A download that fails midway is cut, so that it is never taken for a whole one. */
export async function sendAnswer(
  res: ServerResponse,
  answer: AppAnswer,
  frameAncestors: readonly string[],
): Promise<void> {
  switch (answer.type) {
    case 'page':
      return sendPage(res, 200, { title: answer.title, body: answer.body, frameAncestors })
    case 'redirect':
      return void res.writeHead(303, { location: answer.location, 'cache-control': 'no-store' }).end()
    case 'download':
      res.writeHead(200, {
        'content-type': 'application/octet-stream',
        'content-length': answer.size,
        'content-disposition': `attachment; filename*=UTF-8''${encodeExtended(answer.name)}`,
        'cache-control': 'no-store',
        'content-security-policy': NEVER_FRAMED,
      })
      return pipeline(answer.body, res)
  }
}

/** RFC 8187 §3.2.1. */
function encodeExtended(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(/['()*]/g, (char) => `%${char.charCodeAt(0).toString(16)}`)
}

/** Headers that go with a refusal, whatever its body: RFC 6750 §3 and RFC 9110 §10.2.3. */
export function refusalHeaders({
  status,
  bearerError,
  message,
  retryAfterSeconds,
}: GatewayError): Record<string, string> {
  const description = message.replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, "'")
  const challenge =
    bearerError === undefined ? 'Bearer' : `Bearer error="${bearerError}", error_description="${description}"`
  return {
    ...(status === 401 && { 'www-authenticate': challenge }),
    ...(retryAfterSeconds !== undefined && { 'retry-after': String(Math.max(1, Math.ceil(retryAfterSeconds))) }),
    ...(status === 405 && { allow: 'GET, HEAD, POST' }),
  }
}

/**
 * RFC 9457. `reason` is our stable code, `requestId` what support asks for; `message` repeats the detail under the name that
 * many apps, Jupyter’s pages among them, show to people.
 */
export function problem({ status, reason, message }: GatewayError, requestId: string): Record<string, unknown> {
  const title = TITLES[status] ?? 'Error'
  return { type: 'about:blank', title, status, detail: message, message, reason, requestId }
}

/** JSON is for programs: nobody frames it. */
const NEVER_FRAMED = "default-src 'none'; frame-ancestors 'none'"

export const PROBLEM_JSON = 'application/problem+json'

const TITLES: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  410: 'Gone',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  421: 'Misdirected Request',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
}
