import type { AppKind } from './app.ts'
import { generic } from './generic/generic.ts'
import { jupyterhub } from './jupyterhub/jupyterhub.ts'

/** Every app kind there is: a new one is a folder and a line here. */
export const appKinds: readonly AppKind<never>[] = [generic, jupyterhub]
