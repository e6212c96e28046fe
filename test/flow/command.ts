import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expectNoSecrets } from './leaks.ts'

const ROOT = join(import.meta.dirname, '../..')

/** `ocm-gateway <args>` as operators run it, beside whatever else runs. What it writes may not hold a secret. */
export async function runCommand(args: readonly string[], { cwd = ROOT }: { cwd?: string } = {}) {
  const child = spawn(join(ROOT, 'node_modules/.bin/node'), [join(ROOT, 'src/cli.ts'), ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  expectNoSecrets(stdout + stderr, `what ${args.join(' ')} wrote`)
  return { code: code as number | null, stdout, stderr }
}
