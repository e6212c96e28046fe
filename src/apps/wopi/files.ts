import { GatewayError, gone, notFound, tooLarge, unavailable } from '../../core/errors.ts'
import { childUrl, type Entry, ResourceError, type SharedResource } from '../../resources/resource.ts'
import type { Session } from '../../sessions/session.ts'
import { type Discovery, extensionOf, openableExtensions } from './discovery.ts'

/** The file that a launch opens. */
export interface ChosenFile {
  readonly url: string
  /** With its extension. */
  readonly name: string
  /** It is in a folder that was shared. */
  readonly inFolder: boolean
}

const TYPES_NAMED_MAX = 40

/**
 * Which file is meant: the shared one; of a folder, the one that the path names. Some senders share a file as a collection with
 * one member.
 *
 * @param path below the folder, decoded, `''`: none
 * @returns `undefined` for a folder when no file is named
 * @throws {GatewayError} 404 `file_missing`, 413 `file_too_large`
 * @throws {ResourceError}
 */
export async function chooseFile(
  { grant: { share } }: Session,
  resource: SharedResource,
  path: string,
  { maxFileSize }: { maxFileSize: number },
): Promise<ChosenFile | undefined> {
  const entry = await resource.stat(resource.url)
  if (entry === undefined) throw missing(share.name)
  if (!entry.isFolder) return checked({ url: resource.url, name: nameOf(share.name, entry), inFolder: false }, entry)
  const isFile = share.resourceType === 'file'
  if (!isFile && path === '') return undefined
  const names = isFile ? [share.name] : path.split('/')
  const url = childUrl(resource.url, ...names)
  const child = await resource.stat(url)
  const name = names.at(-1) ?? share.name
  if (child === undefined || child.isFolder) throw missing(name)
  return checked({ url, name, inFolder: !isFile }, child)

  function checked(file: ChosenFile, { size = 0 }: Entry): ChosenFile {
    if (size <= maxFileSize) return file
    throw tooLarge('file_too_large', `${file.name} is larger than this gateway opens.`)
  }
}

/** A share’s URL need not end in the file’s name: the name of the share counts, unless only the other has an extension. */
function nameOf(shareName: string, { name }: Entry): string {
  return extensionOf(shareName) === '' && extensionOf(name) !== '' ? name : shareName
}

function missing(name: string): GatewayError {
  return notFound('file_missing', `${name} is not there any more.`)
}

/** @throws {GatewayError} 415, telling what the editor opens */
export function noAction(name: string, discovery: Discovery): GatewayError {
  const types = openableExtensions(discovery)
  const named = types.slice(0, TYPES_NAMED_MAX).join(', ')
  const more = types.length > TYPES_NAMED_MAX ? ', and others' : ''
  return new GatewayError(415, 'type_not_openable', `The editor does not open ${name}. It opens ${named}${more}.`)
}

/** What the sender’s refusal means to the person who waits. */
export function asLaunchError(error: unknown): unknown {
  if (!(error instanceof ResourceError)) return error
  const details = { cause: error, detail: { failure: error.failure, upstreamStatus: error.status } }
  switch (error.failure) {
    case 'token-ended':
      return gone('sender_token_ended', 'The access to this share has run out. Open it again from your cloud.', details)
    case 'forbidden':
      return new GatewayError(403, 'sender_forbids', 'The sender does not let this share be read.', details)
    case 'missing':
      return notFound('file_missing', 'What was shared is not there any more.', details)
    default:
      return unavailable('sender_unreachable', 'The cloud that this share comes from does not answer.', details)
  }
}
