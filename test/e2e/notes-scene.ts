import { freePort } from '../../src/demo/listen.ts'
import { startNotesApp } from '../../src/demo/notes-app.ts'
import { NOTES } from '../../src/demo/resources.ts'
import { startScene } from './scene.ts'

export type NotesScene = Awaited<ReturnType<typeof startNotesScene>>

/** The scene with the notes app behind the gateway. */
export async function startNotesScene(name: string) {
  const port = await freePort()
  const scene = await startScene({
    name,
    resources: NOTES,
    appName: 'Notes',
    webapp: ({ origin }) => ({
      name: 'notes',
      kind: 'generic',
      publicUrl: `${origin}/notes/`,
      upstream: `http://127.0.0.1:${port}/`,
      generic: { stripPath: true, isolation: 'path' },
    }),
  })
  const app = await startNotesApp({ port, gatewayUrl: scene.gateway.origin, audience: 'notes' })
  let stopped: Promise<void> | undefined
  const stopApp = () => {
    stopped ??= app.close()
    return stopped
  }
  return {
    ...scene,
    stopApp,
    async close(): Promise<void> {
      await stopApp()
      await scene.close()
    },
  }
}
