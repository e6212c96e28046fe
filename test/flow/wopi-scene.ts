import { afterAll, beforeAll, onTestFinished } from 'vitest'
import type { Resource } from '../../src/demo/resources.ts'
import { type Address, launch, navigation, type Opened, type Scene, type SceneOptions, startScene } from './harness.ts'
import { type Editor, type EditorOptions, startEditor, wopiClient } from './wopi-editor.ts'

const REPORT = 'Report.odt'
export const FOLDER = 'Papers'

const report = (name: string): Resource => ({
  name,
  resourceType: 'file',
  mediaType: 'application/vnd.oasis.opendocument.text',
  description: 'A text',
  files: { '': 'first words' },
})

/** A text for each test that shares its scene with others. */
const REPORTS = Array.from({ length: 40 }, (_, index) => `Report ${index + 1}.odt`)

export const RESOURCES: readonly Resource[] = [
  report(REPORT),
  ...REPORTS.map(report),
  {
    name: FOLDER,
    resourceType: 'folder',
    mediaType: 'httpd/unix-directory',
    description: 'Texts',
    files: { 'one.odt': 'one', 'two.odt': 'two', 'data.bin': 'x', 'more/three.odt': 'three' },
  },
  { name: 'Empty.wopitest', resourceType: 'file', mediaType: 'text/plain', description: '', files: { '': '' } },
  { name: 'Picture.xcf', resourceType: 'file', mediaType: 'image/x-xcf', description: '', files: { '': 'x' } },
]

export interface WopiSceneOptions extends Omit<SceneOptions, 'webapps' | 'resources'> {
  readonly wopi?: Record<string, unknown>
  /** More of it, for what depends on where the gateway is. */
  readonly wopiAt?: (address: Address) => Record<string, unknown>
  readonly editor?: EditorOptions
  readonly webapp?: Record<string, unknown>
}

export type WopiScene = Awaited<ReturnType<typeof openWopiScene>>

/** Alice’s cloud, an editor, and a gateway that serves it as `office` at `/office/`. */
export async function openWopiScene({ wopi, wopiAt, editor: wished, webapp, ...options }: WopiSceneOptions) {
  const editor = await startEditor({ base: '/office/', ...wished })
  const scene = await startScene({
    ...options,
    resources: RESOURCES,
    webapps: (address) => [
      {
        name: 'office',
        kind: 'wopi',
        publicUrl: `${address.origin}${editor.base}`,
        upstream: editor.url,
        ...webapp,
        wopi: { ...wopi, ...wopiAt?.(address) },
      },
    ],
  })
  const close = async () => {
    await scene.close()
    await editor.close()
  }
  return { ...scene, editor, close, ...officeOf(scene, editor, REPORT) }
}

/** One that ends with the test. */
export async function startWopiScene(options: WopiSceneOptions = {}): Promise<WopiScene> {
  const scene = await openWopiScene(options)
  onTestFinished(() => scene.close())
  return scene
}

/** One for all tests of a file; each call gives a test a text of its own. */
export function sharedWopiScene(): () => WopiScene {
  let scene: WopiScene | undefined
  let given = 0
  beforeAll(async () => {
    scene = await openWopiScene({})
  })
  afterAll(() => scene?.close())
  return () => {
    const name = REPORTS[given]
    given += 1
    if (scene === undefined || name === undefined) throw new Error('there is no scene, or there are too few texts')
    return { ...scene, ...officeOf(scene, scene.editor, name) }
  }
}

/** What people do with an office. */
function officeOf(scene: Pick<Scene, 'open' | 'visit' | 'gateway'>, editor: Editor, report: string) {
  const at = `${editor.base}.ocm/open`
  const open: Scene['open'] = (wish = {}, launching = {}) =>
    scene.open({ resource: report, uri: `${scene.gateway.origin}${at}`, ...wish }, { at, ...launching })

  /** The browser follows the launch: the editor’s page is loaded, and the editor knows its document. */
  async function edit(opened: Pick<Opened, 'cookie' | 'location'>, headers: Record<string, string> = {}) {
    const response = await scene.visit(opened.location, opened, { headers: { ...navigation, ...headers } })
    const page = editor.pages.at(-1)
    if (response.status !== 200 || page === undefined) throw new Error(`no editor: ${response.status} ${response.body}`)
    return { response, page, ...wopiClient(scene.gateway, editor, page) }
  }

  return {
    /** The name of the text that is opened when nothing else is wished for. */
    report,
    open,
    launch: (token: string, path = at) => launch(scene.gateway, token, { at: path }),
    edit,
    /** A share, opened in a new browser, up to the editor that has its document. */
    async start(wish: Parameters<Scene['open']>[0] = {}) {
      const opened = await open(wish)
      return { opened, ...(await edit(opened)) }
    },
  }
}
