import type { GatewayConfig } from './config/schema.ts'
import { asGatewayError, GatewayError } from './core/errors.ts'
import { createEvents, createLog } from './core/events.ts'
import { formatOcmAddress, parseOcmAddress } from './core/ocm-address.ts'
import { createOutbound } from './core/outbound.ts'
import type { Clock } from './core/time.ts'
import { createGrants } from './shares/grant.ts'
import { createRecords } from './shares/records.ts'
import type { Share } from './shares/share.ts'
import { openStore } from './store/open.ts'
import type { ShareStore } from './store/store.ts'
import { decodeUnverified } from './trust/credentials/claims.ts'
import type { VerifiedCredential } from './trust/credentials/credential.ts'
import { loadSigningKey } from './trust/signing-key.ts'
import { createTrust } from './trust/trust.ts'

const MAX_LISTED = 10
const MAX_LOOKED_AT = 100_000

/** What would have to change, by the reason of the refusal; the message itself says what failed. */
const ADVICE: Record<string, string> = {
  issuer_malformed:
    'The sending server must put its https address into iss; one that is asked under another name needs introspection.issuer in its pairing.',
  introspection_issuer: 'Compare the iss of the endpoint’s answers with introspection.issuer in its pairing.',
  issuer_not_paired: 'Add it under ocmServers, or ask why a token of that server came here.',
  token_type: 'Upgrade the sending server, or accept what it sends with tolerate: [untyped-tokens] in its pairing.',
  token_legacy: 'Upgrade the sending server.',
  token_kid: 'The sending server must name its key in the token’s header.',
  token_algorithm:
    'The sending server must sign with the algorithm of the key it publishes; symmetric ones need sharedKeyFile.',
  token_expired: 'Get a fresh one. If it is fresh, compare the clocks of the two machines.',
  token_not_yet_valid: 'Compare the clocks of the two machines.',
  key_unknown:
    'Compare the kid with the keys that the sending server publishes; after a rotation they are fetched again within 30 s.',
  keys_unavailable:
    'Try from this machine to reach the server’s /.well-known/ocm and its JWKS; keysUrl overrides where they are looked for.',
  credential_opaque: 'Add introspection to the pairing that issues it, and introspected to its modes.',
  share_unknown:
    'Compare the client_id with the ids below; some versions of Nextcloud and its apps announce another id than they put into tokens.',
  share_revoked: 'Nothing: the owner took it back. A new share works.',
  share_expired: 'Nothing: its time is over. A new share works.',
  owner_mismatch: 'The sending server must put the owner’s identifier into sub.',
  recipient_mismatch: 'The sending server must put the recipient of this very share into aud.',
  permissions_empty: 'Raise permissions in the pairing, or share with more.',
  mode_not_permitted: 'Add provisioned or self-contained to the pairing’s modes.',
}

/**
 * Explains what the gateway makes of a credential, step by step: lines for a person, and whether it would be accepted.
 * Reads the store beside a running gateway; asks the issuer for keys or introspection as a launch would.
 *
 * Prints claims and ids, never the credential or a secret. Does NOT try the app.
 */
export async function explain(
  config: GatewayConfig,
  text: string,
  now: Clock,
): Promise<{ lines: string[]; accepted: boolean }> {
  const lines = describeToken(text, now())
  const { insecureLoopback } = config.server
  await using cleanup = new AsyncDisposableStack()
  const outbound = cleanup.adopt(createOutbound({ insecureLoopback }), (opened) => opened.close())
  try {
    const signingKey = await loadSigningKey(config.server.signingKeyFile, new URL(config.server.publicUrl).host)
    const events = createEvents(createLog({ level: 'silent' }))
    const { ocmServers, storePasswordFile: password } = config
    const parts = { ocmServers, insecureLoopback, outbound, signingKey, now, events, takeIntrospection: () => () => {} }
    const { credentials, pairings } = createTrust(parts)
    const credential = await credentials.verify(text, pairings.all, 'why')
    lines.push(`verified      by ${credential.introspected ? 'asking' : 'the keys of'} ${credential.pairing.domain}`)
    if (config.store.kind === 'memory')
      lines.push('store         memory: only the running gateway knows its shares, so none is found here')
    const store = cleanup.adopt(await openStore(config.store, { now, beside: 'reading', password }), (opened) =>
      opened.close(),
    )
    try {
      const grant = await createGrants({ records: createRecords({ store, now }), now }).of(credential)
      lines.push(
        `granted       ${grant.permissions.join(', ')} on "${grant.share.name}" to ${grant.user} (${grant.mode})`,
      )
      return { lines: [...lines, 'accepted'], accepted: true }
    } catch (error) {
      if (error instanceof GatewayError) lines.push(...(await nearby(store.shares, credential)))
      throw error
    }
  } catch (error) {
    const { reason, message, detail } = asGatewayError(error)
    const facts = Object.entries(detail).map(([name, value]) => `  ${name}: ${String(value)}`)
    const advice = ADVICE[reason]
    return {
      lines: [
        ...lines,
        `refused       ${reason}: ${message}`,
        ...facts,
        ...(advice ? [`what to do    ${advice}`] : []),
      ],
      accepted: false,
    }
  }
}

function describeToken(text: string, now: number): string[] {
  const parsed = decodeUnverified(text)
  if (parsed === undefined) return ['credential    opaque: it does not say whose it is']
  const { header, payload } = parsed
  const shown = (value: unknown) => (value === undefined ? '(missing)' : JSON.stringify(value))
  const claims = ['iss', 'sub', 'aud', 'client_id'].map((name) => `${name.padEnd(14)}${shown(payload[name])}`)
  const left = typeof payload.exp === 'number' ? Math.round(payload.exp - now) : undefined
  const time = left === undefined ? '(missing)' : left >= 0 ? `in ${left} s` : `${-left} s ago`
  return [
    `credential    JWT, typ ${shown(header.typ)}, alg ${shown(header.alg)}, kid ${shown(header.kid)}`,
    ...claims,
    `exp           ${time}, by this machine’s clock (${new Date(now * 1000).toISOString()})`,
    `ocm_ip        ${payload.ocm_ip === undefined ? 'no' : 'yes'}`,
  ]
}

/** The shares of the same owner and recipient that are announced: people compare their ids with the token’s `client_id`. */
async function nearby(shares: ShareStore, { pairing, sub, aud }: VerifiedCredential): Promise<string[]> {
  const recipient = parseOcmAddress(aud)
  const rows = await shares.list(pairing.domain, MAX_LOOKED_AT)
  const between = rows.flatMap((row) => {
    if (row.state !== 'live') return []
    const { owner, shareWith, name } = JSON.parse(row.data) as Share
    const sharedWith = parseOcmAddress(shareWith)
    const same = recipient && sharedWith && formatOcmAddress(recipient) === formatOcmAddress(sharedWith)
    return same && parseOcmAddress(owner)?.id === sub ? [`  ${row.shareId}: "${name}"`] : []
  })
  const total = `announced     ${between.length} of this owner to this recipient, ${rows.length} of ${pairing.domain} in all`
  return [total, ...between.slice(0, MAX_LISTED)]
}
