import { childUrl, type Entry, type SharedResource } from '../../../resources/resource.ts'
import type { LeftOut, Root } from './mirror-notes.ts'
import { joinPath, MAX_DEPTH, nameProblem } from './paths.ts'

interface WalkLimits {
  /** Of all files together, as the sender says their sizes. */
  readonly bytes: number
  /** Files and folders. */
  readonly entries: number
}

export interface Found {
  readonly path: string
  readonly entry: Entry
}

/** What is to be in the home: outer folders before inner ones. */
export interface Plan {
  readonly root: Root
  readonly folders: readonly Found[]
  readonly files: readonly Found[]
  readonly leftOut: readonly LeftOut[]
  /** What the limit leaves for files whose size is not known before. */
  readonly spareBytes: number
}

interface Walk {
  readonly share: { readonly name: string; readonly resourceType: string }
  readonly limits: WalkLimits
  readonly signal: AbortSignal
  readonly onFound: (entries: number) => void
}

/**
 * Finds out what a share consists of, folder by folder and breadth first, within limits. What the sender says decides
 * whether it is a file or a folder; where a file’s URL turns out to be a folder’s, the file is in it, under the share’s name.
 *
 * @returns `undefined` when nothing is there
 * @throws {ResourceError}
 */
export async function walk(resource: SharedResource, order: Walk): Promise<Plan | undefined> {
  const found = await findRoot(resource, order.share)
  if (found === undefined) return undefined
  const { budget, plan } = startPlan({ url: found.url, file: undefined }, order.limits)
  if (!found.isFolder) {
    const path = nameProblem(order.share.name) === undefined ? order.share.name : found.name
    budget.take({ path, entry: found })
    return { ...plan, root: { url: found.url, file: path }, spareBytes: budget.spareBytes() }
  }
  for (let folders = [{ path: '', url: found.url }], depth = 0; folders.length > 0; depth++) {
    const inner: { path: string; url: string }[] = []
    for (const { path: folder, url } of folders) {
      order.signal.throwIfAborted()
      if (budget.isSpent()) break
      for (const entry of await resource.list(url)) {
        if (budget.isSpent()) break
        const path = joinPath(folder, entry.name)
        if (!budget.take({ path, entry }) || !entry.isFolder) continue
        if (depth < MAX_DEPTH) inner.push({ path, url: entry.url })
        else budget.leaveOut(`${path}/`, `more than ${MAX_DEPTH} folders deep`)
      }
      order.onFound(plan.folders.length + plan.files.length)
    }
    folders = inner
  }
  return { ...plan, spareBytes: budget.spareBytes() }
}

async function findRoot(resource: SharedResource, { name, resourceType }: Walk['share']): Promise<Entry | undefined> {
  const found = await resource.stat(resource.url)
  if (!found?.isFolder || resourceType !== 'file') return found
  return (await resource.stat(childUrl(found.url, name))) ?? found
}

/** Takes what fits, in the order in which it comes. */
function startPlan(root: Root, limits: WalkLimits) {
  const plan = { root, folders: [] as Found[], files: [] as Found[], leftOut: [] as LeftOut[] }
  const taken = new Set<string>()
  let bytes = 0
  const leaveOut = (path: string, why: string) => void plan.leftOut.push({ path, why })

  function problemOf({ name, size = 0 }: Entry): string | undefined {
    const problem = nameProblem(name)
    if (problem !== undefined) return problem
    const { entries } = limits
    if (plan.folders.length + plan.files.length >= entries) return `beyond the limit of ${entries} files and folders`
    return bytes + size > limits.bytes ? `beyond the limit of ${sizeText(limits.bytes)} in all` : undefined
  }

  return {
    plan,
    budget: {
      leaveOut,
      /** So much cannot come that nobody reads more about it: a sender may list without end. */
      isSpent: () => plan.leftOut.length >= limits.entries,
      spareBytes: () => limits.bytes - bytes,
      take(found: Found): boolean {
        const { path, entry } = found
        // A server may list the same name twice, or in two spellings.
        if (taken.has(path)) return false
        taken.add(path)
        const problem = problemOf(entry)
        if (problem !== undefined) leaveOut(entry.isFolder ? `${path}/` : path, problem)
        else (entry.isFolder ? plan.folders : plan.files).push(found)
        if (problem === undefined) bytes += entry.isFolder ? 0 : (entry.size ?? 0)
        return problem === undefined
      },
    },
  }
}

/** `1536` → `1.5 KB`: as people read sizes. */
export function sizeText(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1)
  const amount = bytes / 1024 ** power
  return `${power > 0 && amount < 100 ? Number(amount.toFixed(1)) : Math.round(amount)} ${units[power]}`
}
