import { andThen } from '../../core/awaitable.ts'
import { GatewayError } from '../../core/errors.ts'
import { defineAppKind, type ForwardPolicy } from '../app.ts'
import { matches } from '../matching.ts'
import { checkHub } from './check-hub.ts'
import { createHubClient } from './hub-client.ts'
import { hubUserOf, isHubUserOfOurs } from './hub-user.ts'
import { landingPath } from './landing.ts'
import { type JupyterhubOptions, jupyterhubOptions } from './options.ts'
import { neededPermission } from './permissions.ts'
import { createServers } from './servers.ts'
import { createSweep } from './sweep.ts'

/** No dot segments and nothing encoded: these need no session. */
const PUBLIC_HUB_PATH = /^hub\/(?:logo|static(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+)$/

/**
 * A stock JupyterHub: every share and person has a hub user and a private server of its own, started through the hub’s API
 * and reached with a token that we mint and inject. Nobody logs in to the hub.
 */
export const jupyterhub = defineAppKind<JupyterhubOptions>({
  kind: 'jupyterhub',
  ownsUpstream: true,
  options: jupyterhubOptions,
  create(webapp, tools) {
    const { options } = webapp
    const base = new URL(webapp.publicUrl).pathname
    const users = `${base}user/`
    const apiUrl = (options.apiUrl ?? `${webapp.upstream}hub/api`).replace(/\/+$/, '')
    const hub = createHubClient({ apiUrl, token: options.apiTokenFile, outbound: tools.outbound })
    const servers = createServers(webapp, hub, tools)

    return {
      webapp,
      forwarding: forwardingBelow(base),
      usesResource: options.content === 'webdav',
      accepts: (share) => matches(webapp, share),
      scopeFor: (grant) => `${users}${hubUserOf(grant)}/`,
      scopeOf(path) {
        const [name, rest] = path.startsWith(users) ? path.slice(users.length).split('/', 2) : []
        return name !== undefined && rest !== undefined && isHubUserOfOurs(name) ? `${users}${name}/` : undefined
      },
      mount: (scope) => ({ public: scope, upstream: scope }),
      isPublic: (path) => path.startsWith(base) && PUBLIC_HUB_PATH.test(path.slice(base.length)),
      async ready(session) {
        const landing = landingPath(session, options.landing)
        return (await servers.isReady(session).catch(notNow)) ? landing : undefined
      },
      async prepare(session, report) {
        const landing = landingPath(session, options.landing)
        await servers.start(session, report)
        return landing
      },
      authorize({ grant }, request) {
        servers.used(hubUserOf(grant))
        return neededPermission(request)
      },
      intervene: servers.intervene,
      describe: servers.describe,
      credentials: ({ grant }) =>
        andThen(servers.token(hubUserOf(grant)), (token) =>
          token === undefined ? undefined : { authorization: `token ${token}` },
        ),
      async lost({ grant, scope }) {
        return (await servers.forgetIfGone(hubUserOf(grant))) ? `${scope}.ocm/starting` : undefined
      },
      release: ({ grant }) => servers.release(hubUserOf(grant)),
      sweep: createSweep({ servers, hub, now: tools.now }),
      checkOnline: () => checkHub(webapp, apiUrl, tools.outbound),
    }
  },
})

/**
 * The injected token makes the server skip its own XSRF and `Origin` checks and echo any `Origin` to CORS: what the browser
 * could say instead, or learn from that, is dropped. A `Location` into the hub means that the token or the server is gone.
 */
function forwardingBelow(base: string): ForwardPolicy {
  return {
    cookies: false,
    dropRequestHeaders: ['authorization'],
    dropQuery: ['token'],
    dropResponseHeaders: [
      'access-control-allow-origin',
      'access-control-allow-credentials',
      'access-control-allow-headers',
      'access-control-allow-methods',
      'access-control-expose-headers',
      'access-control-max-age',
    ],
    endedLocations: [`${base}hub/`],
  }
}

/** What keeps us from telling whether a server runs is told better where people wait: by the start. */
function notNow(error: unknown): false {
  if (error instanceof GatewayError) return false
  throw error
}
