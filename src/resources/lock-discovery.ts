import { parseAsText } from './multistatus.ts'

interface ActiveLock {
  /** As it was given with LOCK, when it is plain text. */
  readonly owner: string
  readonly token: string
}

/** Far more than a server says about the locks of one file. */
const MAX_CHARS = 64 * 1024

/** The locks that a `207 Multi-Status` answer tells of one file (`lockdiscovery`, RFC 4918 §15.8); what cannot be read is none. */
export async function readLocks(xml: string): Promise<ActiveLock[]> {
  if (xml.length > MAX_CHARS || /<!DOCTYPE/i.test(xml)) return []
  try {
    const { multistatus } = await parseAsText(xml)
    return multistatus.response.flatMap(locksOf)
  } catch {
    return []
  }
}

function locksOf(response: unknown): ActiveLock[] {
  const { propstat } = response as { propstat?: { prop?: { lockdiscovery?: { activelock?: unknown } } } }
  return [propstat?.prop?.lockdiscovery?.activelock ?? []].flat().flatMap(lockOf)
}

function lockOf(active: unknown): ActiveLock[] {
  const { owner, locktoken } = active as { owner?: unknown; locktoken?: { href?: unknown } }
  const token = locktoken?.href
  return typeof owner === 'string' && typeof token === 'string' ? [{ owner, token }] : []
}
