import { createHash, randomBytes } from 'node:crypto'
import { GatewayError, unauthorized } from '../../core/errors.ts'
import type { Clock } from '../../core/time.ts'
import { partyOf, type Session } from '../../sessions/session.ts'
import { sessionOf } from '../../sessions/session-cache.ts'
import type { Grant } from '../../shares/grant.ts'
import { stillGranted } from '../../shares/records.ts'
import type { Store } from '../../store/store.ts'
import type { Documents } from './documents.ts'
import type { Reading } from './locks.ts'

/** What a token is for: one file, one person, one session. Kept under the token’s hash. */
interface TokenNote {
  readonly idHash: string
  readonly webapp: string
  readonly fileId: string
  readonly name: string
  readonly url: string
  readonly inFolder: boolean
  readonly grant: Grant
  /** What was last served to this token. */
  readonly seen?: Reading & { /** By GetFile or PutFile; CheckFileInfo serves no bytes. */ readonly bytes: boolean }
  /** The copy that was made beside the file. */
  readonly copy?: string | undefined
}

/** What a token allows now. */
export interface Holder extends TokenNote {
  readonly tokenHash: string
  /** `undefined`: it expired a moment ago, and only the end of the work is accepted. */
  readonly session: Session | undefined
}

export type WopiTokens = ReturnType<typeof createWopiTokens>

const SPACE = 'wopi token'
const LINGER_SECONDS = 7 * 86_400
const GRACE_SECONDS = 10 * 60

/**
 * The tokens that the editor gets: random, known to us by their hash only, and worth no more than their session. The
 * sender’s own token never leaves the gateway.
 */
export function createWopiTokens({
  webapp,
  store,
  documents,
  now,
}: {
  webapp: string
  store: Store
  documents: Documents
  now: Clock
}) {
  const { notes } = store

  async function change(tokenHash: string, next: (note: TokenNote) => TokenNote): Promise<void> {
    for (;;) {
      const note = await notes.get(SPACE, tokenHash)
      if (note === undefined) return
      const data = JSON.stringify(next(JSON.parse(note.data) as TokenNote))
      if (data === note.data || (await notes.replace({ ...note, data }, note.data))) return
    }
  }

  /** The session lives; or it expired less than ten minutes ago, and its share still stands. */
  async function standing({ idHash, grant }: TokenNote): Promise<{ session: Session | undefined; grant: Grant }> {
    const row = await store.sessions.get(idHash)
    if (row?.state === 'live' && row.deadline > now()) {
      const session = sessionOf(row)
      return { session, grant: session.grant }
    }
    const endedAt = row?.state === 'live' ? row.deadline : row?.endedAt
    const expired = row?.state === 'live' || row?.reason === 'expired' || row?.reason === 'idle'
    if (!expired || endedAt === undefined || now() > endedAt + GRACE_SECONDS) throw ended()
    const granted = await stillGranted(store.shares, grant)
    if (granted === undefined) throw ended()
    return { session: undefined, grant: granted }
  }

  return {
    /** A fresh token for one file that the session has opened. @returns the token: 256 random bits, base64url */
    async mint(
      session: Session,
      { wopiSrc, ...document }: Pick<TokenNote, 'fileId' | 'name' | 'url' | 'inFolder'> & { wopiSrc: string },
    ): Promise<string> {
      const token = randomBytes(32).toString('base64url')
      const id = hashToken(token)
      const { idHash, grant } = session
      const note: TokenNote = { ...document, idHash, webapp, grant }
      const expiresAt = Math.max(session.expiresAt, now()) + LINGER_SECONDS
      await notes.put({ space: SPACE, id, data: JSON.stringify(note), expiresAt })
      for (const surplus of await documents.addToken(session, wopiSrc, id)) await notes.delete(SPACE, surplus)
      return token
    },

    /**
     * @param endWith called before the session is looked at, since its end may come meanwhile; taken back when it had ended
     * @throws {GatewayError} 401 `wopi_token_unknown`, `wopi_token_ended`; 404 `wopi_token_of_other_file`
     */
    async holderOf(token: string, fileId: string, endWith: (idHash: string) => () => void): Promise<Holder> {
      const tokenHash = hashToken(token)
      const data = (await notes.get(SPACE, tokenHash))?.data
      const note = data === undefined ? undefined : (JSON.parse(data) as TokenNote)
      if (note === undefined || note.webapp !== webapp)
        throw unauthorized('wopi_token_unknown', 'The access token is not one of ours.')
      if (note.fileId !== fileId)
        throw new GatewayError(404, 'wopi_token_of_other_file', 'The access token is for another file.')
      const takeBack = endWith(note.idHash)
      const { session, grant } = await standing(note)
      if (session === undefined) takeBack()
      return { ...note, tokenHash, session, grant }
    },

    /** What was served; the bytes themselves count more than what was only told about them. */
    served: ({ tokenHash }: Holder, { etag, modified, size }: Reading, { bytes }: { bytes: boolean }): Promise<void> =>
      change(tokenHash, (note) =>
        note.seen?.bytes && !bytes ? note : { ...note, seen: { etag, modified, size, bytes } },
      ),

    /** What could not be saved with it is there, beside the file. */
    copiedTo: ({ tokenHash }: Holder, copy: string): Promise<void> => change(tokenHash, (note) => ({ ...note, copy })),
  }
}

/** Whose token it is, and for which document: what the log says about a call. */
export function editedBy(holder: Holder) {
  return { ...partyOf(holder), document: holder.fileId }
}

function ended() {
  return unauthorized('wopi_token_ended', 'The session of the access token has ended.')
}

function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
