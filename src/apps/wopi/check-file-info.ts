import { createHash } from 'node:crypto'
import { parseOcmAddress } from '../../core/ocm-address.ts'
import type { Grant } from '../../shares/grant.ts'
import { permits } from '../../shares/permissions.ts'

export interface FileFacts {
  readonly grant: Grant
  /** With its extension: editors read the type from it. */
  readonly name: string
  /** Bytes. */
  readonly size: number
  readonly version: string
  readonly lastModified: string | undefined
  /** The page that embeds the editor, when it is known. */
  readonly embedder: string | undefined
}

/** The answer of CheckFileInfo. Nothing is null: what is not known is left out. */
export function checkFileInfo({
  grant,
  name,
  size,
  version,
  lastModified,
  embedder,
}: FileFacts): Record<string, unknown> {
  const { permissions, user, owner } = grant
  const canWrite = permits(permissions, 'write')
  return {
    BaseFileName: name,
    OwnerId: stableId(owner),
    Size: size,
    UserId: stableId(user),
    UserFriendlyName: parseOcmAddress(user)?.id ?? user,
    Version: version,
    ...(lastModified !== undefined && { LastModifiedTime: lastModified }),
    UserCanWrite: canWrite,
    ReadOnly: !canWrite,
    SupportsLocks: true,
    SupportsUpdate: true,
    SupportsGetLock: true,
    SupportsExtendedLockLength: true,
    SupportsRename: false,
    UserCanRename: false,
    UserCanNotWriteRelative: true,
    IsAnonymousUser: false,
    IsAdminUser: false,
    EnableOwnerTermination: false,
    EnableShare: false,
    ...(embedder !== undefined && { PostMessageOrigin: embedder }),
    ...(!permits(permissions, 'read') && NO_DOWNLOAD),
  }
}

/** Who may only view is not offered to take it away; that the editor shows it is all that can be promised. */
const NO_DOWNLOAD = {
  DisablePrint: true,
  DisableExport: true,
  DisableCopy: true,
  HideExportOption: true,
  HidePrintOption: true,
}

/** The same for every session of a person, without the characters that some editors do not take. */
function stableId(address: string): string {
  return createHash('sha256').update(address).digest('base64url')
}
