import type { Webapp } from '../config/schema.ts'
import type { App, AppKind, AppTools } from './app.ts'
import { generic } from './generic/generic.ts'
import { jupyterhub } from './jupyterhub/jupyterhub.ts'
import { wopi } from './wopi/wopi.ts'

/** Every app kind there is: a new one is a folder and a line here. */
export const appKinds: readonly AppKind<never>[] = [generic, jupyterhub, wopi]

/** The configured webapps, in their order. @throws {Error} when a kind is not one of ours, which the configuration rules out */
export function createApps(webapps: readonly Webapp[], tools: AppTools): App[] {
  return webapps.map((webapp) => {
    const found = appKinds.find(({ kind }) => kind === webapp.kind)
    if (found === undefined) throw new Error(`no app kind is called ${webapp.kind}`)
    return found.create(webapp as never, tools)
  })
}
