import type { Webapp } from '../config/schema.ts'
import type { Share } from '../shares/share.ts'

/** Whether a webapp may be launched by shares of a server: those it names, or all. */
export function serves({ ocmServers }: Pick<Webapp, 'ocmServers'>, senderDomain: string): boolean {
  return ocmServers?.includes(senderDomain) ?? true
}

/** The `match` rules of a webapp over a share: its app name, media types, or the resource’s extension. No rules match all. */
export function matches(webapp: Webapp, share: Share): boolean {
  const { match } = webapp
  if (match === undefined) return true
  const { appName, mediaTypes } = share.webapp
  return (
    (appName !== undefined && match.appNames.some((name) => name.toLowerCase() === appName.toLowerCase())) ||
    mediaTypes.some((type) => match.mediaTypes.includes(type)) ||
    match.extensions.some((extension) => share.name.toLowerCase().endsWith(extension.toLowerCase()))
  )
}
