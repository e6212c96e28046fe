import { forbidden, unavailable } from '../../core/errors.ts'
import type { Session } from '../../sessions/session.ts'
import { defineAppKind, type InspectedRequest, type Intervention, PLAIN_FORWARDING } from '../app.ts'
import { matches } from '../matching.ts'
import { createBridge } from './bridge.ts'
import { checkEditor } from './check-editor.ts'
import { createDiscovery, pagePaths } from './discovery.ts'
import { createDocuments } from './documents.ts'
import { openingForm } from './editor-page.ts'
import { isEditorPage, isStaticPath, neededPermission } from './editor-paths.ts'
import { type WopiOptions, wopiOptions } from './options.ts'
import { createPassthrough } from './passthrough.ts'
import { documentsNamed, isNamed } from './wopi-src.ts'

/**
 * An office editor that speaks WOPI (Collabora, OnlyOffice and their kin) for files of any OCM share: with the gateway as the
 * WOPI host (`bridge`), or in front of the sender’s own (`passthrough`).
 */
export const wopi = defineAppKind<WopiOptions>({
  kind: 'wopi',
  options: wopiOptions,
  create(webapp, tools) {
    const { options, name, publicUrl, upstream } = webapp
    const { store, outbound, events, now } = tools
    const base = new URL(publicUrl).pathname
    const discoveryUrl = options.discoveryUrl ?? `${upstream}hosting/discovery`
    const discovery = createDiscovery({ url: discoveryUrl, webapp: name, outbound, events, now })
    const documents = createDocuments({ notes: store.notes, now })
    const createMode = options.mode === 'bridge' ? createBridge : createPassthrough
    const mode = createMode({ webapp, tools, discovery, documents })

    async function landing(session: Session): Promise<string> {
      const location = await mode.landing(session)
      if (location.startsWith(base)) return location
      const detail = { location, base }
      throw unavailable('editor_misplaced', 'The editor’s pages are not below the address of this application.', {
        detail,
      })
    }

    /** The editor’s page, asked for by a browser that has the document open; any other request goes on as it is. */
    async function openPage(session: Session, request: InspectedRequest): Promise<Intervention> {
      const path = request.rawPath.slice(base.length)
      const isPage = isEditorPage(path) || pagePaths(await discovery.get()).has(request.rawPath)
      if (!isPage) return {}
      const named = documentsNamed(path, request.query)
      const document = (await documents.all(session)).find(({ wopiSrc }) => isNamed(named, wopiSrc))
      if (request.method !== 'GET' || document === undefined)
        throw forbidden('editor_page', 'The editor’s page is opened by a launch of this very document.')
      return openingForm(await mode.formFor(session, document))
    }

    return {
      webapp,
      forwarding: PLAIN_FORWARDING,
      usesResource: true,
      ...(mode.host && { host: mode.host }),
      accepts: (share) => matches(webapp, share),
      scopeFor: () => base,
      scopeOf: (path) => (path.startsWith(base) ? base : undefined),
      mount: () => ({ public: base, upstream: base }),
      isPublic: (path) => path.startsWith(base) && isStaticPath(path.slice(base.length)),
      async owns(session, { path, query }) {
        const named = documentsNamed(path.slice(base.length), query)
        if (named.sources.length === 0 && named.key === undefined) return !named.mustName
        return (await documents.all(session)).some(({ wopiSrc }) => isNamed(named, wopiSrc))
      },
      ready: landing,
      prepare: landing,
      authorize: (_session, request) => neededPermission(request),
      intervene(session, request) {
        const { sources } = documentsNamed('', request.query)
        return sources.length === 0 ? undefined : openPage(session, request)
      },
      ...(mode.answer && { answer: mode.answer }),
      ...(mode.describe && { describe: mode.describe }),
      credentials: () => ({}),
      release: async () => {},
      sweep: async () => {},
      checkOnline: () => checkEditor(webapp, discoveryUrl, { discovery, outbound }),
    }
  },
})
