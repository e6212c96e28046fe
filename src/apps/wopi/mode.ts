import type { Session } from '../../sessions/session.ts'
import type { AppAnswer, AppHost } from '../app.ts'
import type { OpenDocument } from './documents.ts'
import type { PageForm } from './editor-page.ts'

/** What the two modes answer differently: who the WOPI host is, and so what the editor is opened with. */
export interface WopiMode {
  readonly host?: AppHost
  /**
   * Where a launch leads.
   *
   * @returns an absolute path
   * @throws {GatewayError} what keeps it from being opened
   */
  landing(session: Session): Promise<string>
  /** What the editor’s page gets for a document that the session has opened. @throws {GatewayError} */
  formFor(session: Session, document: OpenDocument): Promise<PageForm>
  /** @see App.answer */
  answer?(session: Session, path: string): Promise<AppAnswer | undefined>
  /** @see App.describe */
  describe?(session: Session): Promise<Readonly<Record<string, unknown>>>
}
