import { statSync } from 'node:fs'

const POLL_MS = 1000

/**
 * Tells when files that were loaded have changed. Asks for their inode, size and time once a second: that sees renames, links
 * that are set anew (`..data` of a Kubernetes volume) and network file systems alike. A change counts when two looks in a
 * row agree, so that a file is not read while it is being written.
 */
export function createFileWatch(changed: () => void) {
  let loaded = new Map<string, string>()
  let seen = ''
  const look = () => {
    const now = stampsOf(loaded.keys())
    const settled = textOf(now) === seen
    seen = textOf(now)
    if (settled && seen !== textOf(loaded)) changed()
  }
  const timer = setInterval(look, POLL_MS).unref()

  return {
    /** Loads, and from then on watches the files that were read, as the load says by `reads`. */
    around<Loaded>(load: (reads: (file: string) => void) => Loaded): Loaded {
      const before = stampsOf(loaded.keys())
      loaded = new Map()
      return load((file) => loaded.set(file, before.get(file) ?? stampOf(file)))
    },
    [Symbol.dispose]: () => clearInterval(timer),
  }
}

function stampsOf(files: Iterable<string>): Map<string, string> {
  return new Map([...files].map((file) => [file, stampOf(file)]))
}

function stampOf(file: string): string {
  try {
    const { dev, ino, size, mtimeMs } = statSync(file)
    return [dev, ino, size, mtimeMs].join(' ')
  } catch {
    return 'missing'
  }
}

function textOf(stamps: ReadonlyMap<string, string>): string {
  return JSON.stringify([...stamps])
}
