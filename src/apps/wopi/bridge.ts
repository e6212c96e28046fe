import type { Webapp } from '../../config/schema.ts'
import { gone, notFound, unavailable } from '../../core/errors.ts'
import { childUrl } from '../../resources/resource.ts'
import type { Session } from '../../sessions/session.ts'
import { permits } from '../../shares/permissions.ts'
import type { AppAnswer, AppTools } from '../app.ts'
import { createProofCheck } from './check-proof.ts'
import { chooseAction, type EditorDiscovery, editorLocation, extensionOf, openableExtensions } from './discovery.ts'
import { type Documents, fileIdOf } from './documents.ts'
import { createFileStates } from './file-state.ts'
import { asLaunchError, type ChosenFile, chooseFile, noAction } from './files.ts'
import { createKeptBytes } from './kept-bytes.ts'
import type { WopiMode } from './mode.ts'
import type { WopiOptions } from './options.ts'
import { keptPage, listingPage } from './pages.ts'
import { createSaving } from './save.ts'
import { createWopiHost } from './wopi-host.ts'
import { createWopiTokens } from './wopi-tokens.ts'

export interface ModeParts {
  readonly webapp: Webapp<WopiOptions>
  readonly tools: AppTools
  readonly discovery: EditorDiscovery
  readonly documents: Documents
}

/** We are the WOPI host; the bytes are the sender’s, over WebDAV. */
export function createBridge({ webapp, tools, discovery, documents }: ModeParts): WopiMode {
  const { store, sealer, resources, events, now } = tools
  const { options, name } = webapp
  const hostUrl = options.hostUrl ?? webapp.publicUrl
  const states = createFileStates({ notes: store.notes, now })
  const tokens = createWopiTokens({ webapp: name, store, documents, now })
  const kept = createKeptBytes({ notes: store.notes, sealer, now, limits: options.keepUnsaved })
  const host = createWopiHost({
    store,
    hostUrl,
    webapp: name,
    maxFileSize: options.maxFileSize,
    checkProof: createProofCheck({ mode: options.proof, discovery, now }),
    tokens,
    states,
    resources,
    saving: createSaving({ store, states, tokens, kept, events, now }),
    events,
    now,
  })

  /** The session has it open from now on. @returns the path of the editor’s page */
  async function open(session: Session, file: ChosenFile): Promise<string> {
    const { grant } = session
    const editor = await discovery.get()
    const action = chooseAction(editor, file.name, { canWrite: permits(grant.permissions, 'write') })
    if (action === undefined) throw noAction(file.name, editor)
    const wopiSrc = `${hostUrl}wopi/files/${fileIdOf(grant.senderDomain, file.url)}`
    await documents.open(session, { ...file, wopiSrc })
    return editorLocation(action, wopiSrc)
  }

  async function locate(session: Session, path: string): Promise<string> {
    try {
      const file = await chooseFile(session, await resources.of(session.grant), path, options)
      return file === undefined ? `${session.scope}.ocm/files/` : await open(session, file)
    } catch (error) {
      throw asLaunchError(error)
    }
  }

  /** @param path below the share, decoded, `''` or ends in `/` */
  async function list({ grant }: Session, path: string): Promise<AppAnswer> {
    const resource = await resources.of(grant)
    const editor = await discovery.get()
    const openable = new Set(openableExtensions(editor))
    const folder = path === '' ? resource.url : `${childUrl(resource.url, ...path.slice(0, -1).split('/'))}/`
    const entries = (await resource.list(folder)).toSorted((a, b) => a.name.localeCompare(b.name))
    const folders = entries.filter(({ isFolder }) => isFolder).map((entry) => entry.name)
    const files = entries.filter((entry) => !entry.isFolder && openable.has(extensionOf(entry.name)))
    const body = listingPage(grant.share.name, { path, folders, files: files.map((entry) => entry.name) })
    return { type: 'page', title: grant.share.name, body }
  }

  async function answerFiles(session: Session, rawPath: string): Promise<AppAnswer> {
    const path = plainPath(rawPath)
    if (path !== '' && !path.endsWith('/')) return { type: 'redirect', location: await locate(session, path) }
    return list(session, path).catch((error: unknown) => {
      throw asLaunchError(error)
    })
  }

  async function answerKept({ grant }: Session, id: string): Promise<AppAnswer | undefined> {
    if (id === '') return { type: 'page', title: 'Not saved', body: keptPage(await kept.list(grant)) }
    const file = await kept.find(grant, id)
    return file && { type: 'download', name: file.name, size: file.size, body: kept.read(file) }
  }

  return {
    host,
    landing: (session) => locate(session, session.suffix),

    async formFor(session, { wopiSrc, name: fileName, url, inFolder }) {
      if (url === undefined) throw unavailable('mode_changed', 'The share has to be opened again.')
      const expiresAt = await resources.tokenExpiresAt(session.grant)
      if (expiresAt === undefined || expiresAt <= now()) throw tokenEnded()
      const fileId = wopiSrc.slice(-43)
      const token = await tokens.mint(session, { wopiSrc, fileId, name: fileName, url, inFolder: inFolder ?? false })
      return { token, until: Math.min(expiresAt, session.expiresAt), embedder: session.frameAncestors[0] }
    },

    async answer(session, path) {
      const [room, ...rest] = path.split('/')
      if (room !== 'files' && room !== 'kept') return undefined
      if (rest.length === 0) return { type: 'redirect', location: `${session.scope}.ocm/${room}/` }
      return room === 'files' ? answerFiles(session, rest.join('/')) : answerKept(session, rest.join('/'))
    },

    async describe({ grant, scope }) {
      const files = await kept.list(grant)
      const savesUntil = await resources.tokenExpiresAt(grant)
      return {
        savesUntil,
        kept: files.map(({ id, by: _, ...file }) => ({ ...file, url: `${scope}.ocm/kept/${id}` })),
      }
    },
  }
}

/** @throws {GatewayError} 404 for what is no plain path below the share */
function plainPath(raw: string): string {
  const names = raw.split('/').map(decoded)
  const last = names.length - 1
  const odd = names.some(
    (name, index) =>
      name === undefined ||
      name === '.' ||
      name === '..' ||
      /[/\\\0-\x1f\x7f]/.test(name) ||
      (name === '' && index !== last),
  )
  if (odd) throw notFound('no_such_page', 'There is nothing at this address.')
  return names.join('/')
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function tokenEnded() {
  return gone('sender_token_ended', 'The access to this share has run out. Open it again from your cloud.')
}
