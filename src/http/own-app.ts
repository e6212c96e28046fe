import express, { type Express, type RequestHandler } from 'express'
import helmet from 'helmet'
import { GatewayError } from '../core/errors.ts'
import type { Events } from '../core/events.ts'
import { createErrorHandler } from './error-handler.ts'
import type { createIntegrationApi } from './integration-api.ts'
import { liveness } from './integration-api.ts'
import { visitLaunch } from './launch.ts'
import type { Operation } from './places.ts'
import type { createSessionRoutes } from './session-routes.ts'

export interface OwnHandlers {
  readonly launch: RequestHandler
  readonly integration: ReturnType<typeof createIntegrationApi>
  readonly session: ReturnType<typeof createSessionRoutes>
  readonly jwks: object
  readonly limits: { readonly form: number; readonly json: number }
  readonly https: boolean
  readonly events: Events
}

/**
 * Everything that the gateway answers itself. The server has already found out which operation a request is; it arrives
 * here as `/<operation>`.
 */
export function createOwnApp({ launch, integration, session, jwks, limits, https, events }: OwnHandlers): Express {
  const app = express()
  app.disable('x-powered-by')
  app.set('etag', false)
  app.use(
    helmet({
      contentSecurityPolicy: false, // each page has its own, with a nonce
      xFrameOptions: false, // frame-ancestors says it better
      crossOriginOpenerPolicy: false, // pages live in other clouds' frames
      crossOriginResourcePolicy: false,
      strictTransportSecurity: https,
    }),
  )
  const form = express.text({ type: () => true, limit: limits.form, inflate: false, defaultCharset: 'utf-8' })
  const bytes = express.raw({ type: () => true, limit: limits.json, inflate: false })

  const at = (operation: Operation) => app.route(`/${operation}`)
  at('jwks').get(publish(jwks)).all(refuseMethod)
  at('liveness').get(liveness).all(refuseMethod)
  at('shares').post(bytes, integration.shares).all(refuseMethod)
  at('revoke').post(bytes, integration.revoke).all(refuseMethod)
  at('close').post(bytes, integration.close).all(refuseMethod)
  at('launch').post(form, launch).get(visitLaunch).all(refuseMethod)
  at('starting').get(session.starting).all(refuseMethod)
  at('starting-events').get(session.startingEvents).all(refuseMethod)
  at('session').get(session.session).all(refuseMethod)
  at('status').get(session.status).all(refuseMethod)
  at('logout').post(session.logout).all(refuseMethod)
  at('expired').get(session.expired).all(refuseMethod)
  at('answer').get(session.answer).all(refuseMethod)
  app.use(createErrorHandler(events))
  return app
}

const publish =
  (document: object): RequestHandler =>
  (_req, res) => {
    res.set('cache-control', 'public, max-age=300').json(document)
  }

const refuseMethod: RequestHandler = (req) => {
  throw new GatewayError(405, 'method_refused', `The method ${req.method} is not served at this address.`)
}
