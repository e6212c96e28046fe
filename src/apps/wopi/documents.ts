import { createHash } from 'node:crypto'
import type { Clock } from '../../core/time.ts'
import type { Session } from '../../sessions/session.ts'
import type { NoteStore } from '../../store/store.ts'

/** A file that a session has opened in the editor. */
export interface OpenDocument {
  /** What the editor’s URLs call it. */
  readonly wopiSrc: string
  /** File name with its extension. */
  readonly name: string
  /** bridge: where its bytes are. */
  readonly url?: string
  /** bridge: a copy beside a file may be made in its folder. */
  readonly inFolder?: boolean
  /** bridge: hashes of the tokens that were given out for it, oldest first. */
  readonly tokens: readonly string[]
}

export type Documents = ReturnType<typeof createDocuments>

const SPACE = 'wopi session'
const DOCUMENTS_MAX = 200
const TOKENS_MAX = 50
const LINGER_SECONDS = 7 * 86_400

/** Which files a session has opened: only these can be reached with its cookie. */
export function createDocuments({ notes, now }: { notes: NoteStore; now: Clock }) {
  async function find(idHash: string): Promise<{ data: string | undefined; documents: readonly OpenDocument[] }> {
    const data = (await notes.get(SPACE, idHash))?.data
    return { data, documents: data === undefined ? [] : (JSON.parse(data) as OpenDocument[]) }
  }

  async function change(
    { idHash, expiresAt }: Session,
    next: (documents: readonly OpenDocument[]) => readonly OpenDocument[],
  ): Promise<void> {
    for (;;) {
      const { data, documents } = await find(idHash)
      const changed = JSON.stringify(next(documents).slice(-DOCUMENTS_MAX))
      // A session may be renewed after this; it is the session that says whether it still lives.
      const until = Math.max(expiresAt, now()) + LINGER_SECONDS
      if (await notes.replace({ space: SPACE, id: idHash, data: changed, expiresAt: until }, data)) return
    }
  }

  return {
    /** Remembers that the session opened it; what it had opened before stays open. */
    open: (session: Session, document: Omit<OpenDocument, 'tokens'>): Promise<void> =>
      change(session, (documents) => {
        const before = documents.find(({ wopiSrc }) => wopiSrc === document.wopiSrc)
        const others = documents.filter((other) => other !== before)
        return [...others, { ...document, tokens: before?.tokens ?? [] }]
      }),

    find: async ({ idHash }: Pick<Session, 'idHash'>, wopiSrc: string): Promise<OpenDocument | undefined> =>
      (await find(idHash)).documents.find((document) => document.wopiSrc === wopiSrc),

    all: async ({ idHash }: Pick<Session, 'idHash'>): Promise<readonly OpenDocument[]> =>
      (await find(idHash)).documents,

    /** Remembers a token of a document. @returns the hashes of those that are too many now */
    async addToken(session: Session, wopiSrc: string, token: string): Promise<readonly string[]> {
      let surplus: readonly string[] = []
      await change(session, (documents) =>
        documents.map((document) => {
          if (document.wopiSrc !== wopiSrc) return document
          const tokens = [...document.tokens, token]
          surplus = tokens.slice(0, -TOKENS_MAX)
          return { ...document, tokens: tokens.slice(-TOKENS_MAX) }
        }),
      )
      return surplus
    },
  }
}

/** The same for everybody whose share names the same URL; 43 characters, which every editor takes. */
export function fileIdOf(senderDomain: string, url: string): string {
  return createHash('sha256').update(`${senderDomain}\n${url}`).digest('base64url')
}
