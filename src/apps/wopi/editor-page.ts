import type { Intervention } from '../app.ts'

export interface PageForm {
  readonly token: string
  /** Epoch seconds: until then a save reaches the sender. */
  readonly until: number
  /** The page that embeds the editor, which may talk to it. */
  readonly embedder: string | undefined
}

/**
 * The form that an editor’s page is opened with, in place of the browser’s GET: the token is in no address of the browser’s,
 * and the page needs no form of its own. Nothing of what the browser sent gets into it.
 */
export function openingForm({ token, until, embedder }: PageForm): Intervention {
  const fields = new URLSearchParams({
    access_token: token,
    access_token_ttl: String(Math.floor(until * 1000)),
    ...(embedder !== undefined && { postmessage_origin: embedder }),
  })
  return {
    method: 'POST',
    body: Buffer.from(fields.toString()),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    responseHeaders: { 'cache-control': 'no-store' },
  }
}
