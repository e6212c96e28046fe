import type { Webapp } from '../../config/schema.ts'
import type { Outbound } from '../../core/outbound.ts'
import type { OnlineFinding } from '../app.ts'
import { type Discovery, type EditorDiscovery, openableExtensions, pagePaths } from './discovery.ts'
import type { WopiOptions } from './options.ts'

const LIMITS = { timeoutSeconds: 10, maxBytes: 256 * 1024, operatorNamed: true }

/** What the editor tells about itself, and what it has to be told about us. */
export async function checkEditor(
  webapp: Webapp<WopiOptions>,
  discoveryUrl: string,
  { discovery, outbound }: { discovery: EditorDiscovery; outbound: Outbound },
): Promise<readonly OnlineFinding[]> {
  const path = 'wopi.discoveryUrl'
  let found: Discovery
  try {
    found = await discovery.probe()
  } catch (error) {
    return [{ ok: false, path, message: `${discoveryUrl}: ${oneLine(error)} (must be the editor’s WOPI discovery)` }]
  }
  const types = openableExtensions(found)
  const message = `${found.flavour} editor, opens ${types.length} types of file`
  return [
    { ok: true, path, message },
    checkPages(webapp, found),
    checkKeys(webapp, found),
    ...(found.flavour === 'collabora' ? [await checkCapabilities(discoveryUrl, outbound), aliasGroup(webapp)] : []),
  ]
}

function checkPages({ publicUrl }: Webapp<WopiOptions>, found: Discovery): OnlineFinding {
  const base = new URL(publicUrl).pathname
  const [page = ''] = [...pagePaths(found)].filter((each) => !each.startsWith(base))
  if (page === '') return { ok: true, path: 'publicUrl', message: `the editor’s pages are below ${base}` }
  const remedy = `set the editor’s service root to ${base.slice(0, -1)}, or give it a host of its own`
  return { ok: false, path: 'publicUrl', message: `the editor’s page ${page} is not below ${base} (${remedy})` }
}

function checkKeys({ options: { mode, proof } }: Webapp<WopiOptions>, { proofKeys }: Discovery): OnlineFinding {
  const path = 'wopi.proof'
  if (proofKeys !== undefined) return { ok: true, path, message: 'the editor signs what it asks' }
  const needed = mode === 'bridge' && proof === 'require'
  return { ok: !needed, path, message: 'the editor publishes no proof key (Collabora: coolconfig generate-proof-key)' }
}

async function checkCapabilities(discoveryUrl: string, outbound: Outbound): Promise<OnlineFinding> {
  const url = discoveryUrl.replace(/discovery(?=$|\?)/, 'capabilities')
  try {
    const { productName, productVersion } = (await outbound.getJson(url, LIMITS)) as Record<string, unknown>
    const product = `${productName ?? 'an editor'} ${productVersion ?? ''}`.trim()
    return { ok: true, path: 'wopi.discoveryUrl', message: `it is ${product.slice(0, 100)}` }
  } catch (error) {
    return { ok: false, path: 'wopi.discoveryUrl', message: `${url}: ${oneLine(error)} (must answer JSON)` }
  }
}

/** Collabora asks the hosts that it is told about, and no others. */
function aliasGroup({ publicUrl, options: { mode, hostUrl } }: Webapp<WopiOptions>): OnlineFinding {
  const { protocol, hostname, port } = new URL(hostUrl ?? publicUrl)
  const ours = `${protocol}//${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`
  const message =
    mode === 'bridge'
      ? `Collabora must allow this WOPI host, and no other: aliasgroup1=${ours}`
      : 'Collabora must allow the WOPI host of each sender: one alias group for each'
  return { ok: true, path: 'wopi.hostUrl', message }
}

function oneLine(error: unknown): string {
  return (error as Error).message.replace(/\s+/g, ' ').slice(0, 300)
}
