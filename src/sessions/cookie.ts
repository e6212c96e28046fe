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

/** A cookie with one of our names. */
class OurCookie {
  readonly name: string
  readonly value: string
  #idHash: string | undefined

  constructor(name: string, value: string) {
    this.name = name
    this.value = value
  }

  /** What the store knows of the value; made when it is asked for. */
  get idHash(): string {
    this.#idHash ??= hashCookieValue(this.value)
    return this.#idHash
  }
}

/** What is ours and what is the app’s in a `Cookie` header. */
export interface SplitCookies {
  /** Those with a well-formed value, in the order sent. */
  readonly ours: readonly OurCookie[]
  /** The rest, as sent; `''` when nothing is left. */
  readonly rest: string
}

const VALUE = /^[A-Za-z0-9_-]{43}$/

/** @param prefix everything that starts so is ours (compared without case), and never reaches the app */
export function splitCookies(header: string | undefined, prefix: string): SplitCookies {
  if (header === undefined || header === '') return { ours: [], rest: '' }
  const ours: OurCookie[] = []
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
    if (VALUE.test(value)) ours.push(new OurCookie(name, value))
  }
  return { ours, rest: rest.join('; ') }
}

const REMEMBERED_MAX = 1000
const REMEMBERED_LENGTH_MAX = 4096

/** `splitCookies`, for each header once: a page sends the same one with all its requests. */
export function createCookieReader(prefix: string): (header: string | undefined) => SplitCookies {
  const known = new Map<string, SplitCookies>()
  return (header = '') => {
    const before = known.get(header)
    if (before !== undefined) return before
    const split = splitCookies(header, prefix)
    if (known.size >= REMEMBERED_MAX) known.clear()
    if (header.length <= REMEMBERED_LENGTH_MAX) known.set(header, split)
    return split
  }
}
