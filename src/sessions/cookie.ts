import { createHash, hash, randomBytes } from 'node:crypto'
import type { ShareKey } from '../store/store.ts'

/** The name of the cookie of one share at one webapp: `<prefix>-<webapp>-<8 hex of the share>`. */
export function cookieName(prefix: string, webapp: string, { senderDomain, shareId }: ShareKey): string {
  const share = createHash('sha256').update(`${senderDomain}\n${shareId}`).digest('hex').slice(0, 8)
  return `${prefix}-${webapp}-${share}`
}

/** 256 random bits, base64url. */
export function newCookieValue(): string {
  return randomBytes(32).toString('base64url')
}

export function hashCookieValue(value: string): string {
  return hash('sha256', value, 'base64url')
}

/** `Partitioned` (CHIPS), because inside the Receiving Server’s iframe it is a third-party cookie. It goes with the browser. */
export function setCookie(name: string, value: string, path: string): string {
  return `${name}=${value}; Path=${path}; HttpOnly; Secure; SameSite=None; Partitioned`
}

export function clearCookie(name: string, path: string): string {
  return `${setCookie(name, '', path)}; Max-Age=0`
}

/** What is ours and what is the app’s in a `Cookie` header. */
export interface SplitCookies {
  /** Well-formed values of cookies with one of our names, in the order sent. */
  readonly ours: readonly { readonly name: string; readonly value: string }[]
  /** The rest, as sent; `''` when nothing is left. */
  readonly rest: string
}

const VALUE = /^[A-Za-z0-9_-]{43}$/

/** @param prefix everything that starts so is ours (compared without case), and never reaches the app */
export function splitCookies(header: string | undefined, prefix: string): SplitCookies {
  if (header === undefined || header === '') return { ours: [], rest: '' }
  const ours: { name: string; value: string }[] = []
  const rest: string[] = []
  const start = `${prefix.toLowerCase()}-`
  for (const pair of header.split(';')) {
    const cookie = pair.trim()
    const equals = cookie.indexOf('=')
    const name = equals === -1 ? cookie : cookie.slice(0, equals).trim()
    if (!name.toLowerCase().startsWith(start)) {
      if (cookie !== '') rest.push(cookie)
      continue
    }
    const value = equals === -1 ? '' : cookie.slice(equals + 1).trim()
    if (VALUE.test(value)) ours.push({ name, value })
  }
  return { ours, rest: rest.join('; ') }
}
