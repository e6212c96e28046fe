import { text } from 'node:stream/consumers'
import { close, listen } from '../../src/demo/listen.ts'

export type IntrospectionEndpoint = Awaited<ReturnType<typeof startIntrospectionEndpoint>>

/** An introspection endpoint (RFC 7662) that knows the credentials it is given, and counts how often it is asked. */
export async function startIntrospectionEndpoint() {
  const known = new Map<string, object>()
  let asked = 0
  const { server, port } = await listen(async (req, res) => {
    const token = new URLSearchParams(await text(req)).get('token') ?? ''
    asked += 1
    const answer = known.get(token) ?? { active: false }
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  }, 0)
  return {
    url: `http://localhost:${port}/introspect`,
    /** The credentials that are active, and what is said about each. */
    known,
    get asked() {
      return asked
    },
    close: () => close(server),
  }
}
