import { createHash } from 'node:crypto'
import type { Grant } from '../../shares/grant.ts'
import { defineAppKind, PLAIN_FORWARDING } from '../app.ts'
import { matches } from '../matching.ts'
import { createAccess } from './access.ts'
import { createIdentity } from './identity.ts'
import { type GenericOptions, genericOptions } from './options.ts'

const ISOLATED = /^~[0-9a-f]{16}\//

/** Any web application: it is told who the user is by `X-OCM-*` headers and a signed assertion. Nothing is started or stopped. */
export const generic = defineAppKind<GenericOptions>({
  kind: 'generic',
  options: () => genericOptions,
  create(webapp, tools) {
    const { options } = webapp
    const base = new URL(webapp.publicUrl).pathname
    const upstream = new URL(webapp.upstream).pathname
    const isolated = options.isolation === 'path'
    const identity = createIdentity(webapp.name, tools)
    const neededPermission = createAccess(options)
    const landing = (scope: string, suffix: string) => scope + joinPath(options.landing, suffix)

    return {
      webapp,
      forwarding: { ...PLAIN_FORWARDING },
      accepts: (share) => matches(webapp, share),
      scopeFor: (grant) => (isolated ? `${base}${isolatedSegment(grant)}` : base),
      scopeOf: (path) => {
        if (!path.startsWith(base)) return undefined
        if (!isolated) return base
        const segment = ISOLATED.exec(path.slice(base.length))?.[0]
        return segment === undefined ? undefined : base + segment
      },
      mount: (scope) => ({ public: scope, upstream }),
      isPublic: () => false,
      ready: async ({ scope, suffix }) => landing(scope, suffix),
      prepare: async ({ scope, suffix }) => landing(scope, suffix),
      authorize: (_session, request) => neededPermission(request),
      credentials: identity,
      release: async () => {},
      sweep: async () => {},
    }
  },
})

/** One segment for each share and person: two people of one browser (or two shares) never meet in one scope. */
function isolatedSegment({ senderDomain, shareId, user, instance }: Grant): string {
  const name = createHash('sha256')
    .update(JSON.stringify([senderDomain, shareId, user, instance]))
    .digest('hex')
  return `~${name.slice(0, 16)}/`
}

/** Joined with exactly one slash; the suffix is encoded segment by segment. */
function joinPath(landing: string, suffix: string): string {
  const start = landing.replace(/^\/+/, '')
  if (suffix === '') return start
  const encoded = suffix.split('/').map(encodeURIComponent).join('/')
  return start === '' ? encoded : `${start.replace(/\/+$/, '')}/${encoded}`
}
