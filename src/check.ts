import { createPrivateKey, X509Certificate } from 'node:crypto'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Problem } from './config/load.ts'
import type { GatewayConfig } from './config/schema.ts'
import { loadSigningKey, readPrivateKey } from './trust/signing-key.ts'

/** What only shows when the files that a valid configuration names are looked into. Nothing is created or changed. */
export async function checkFiles({ server, store }: GatewayConfig): Promise<Problem[]> {
  const { signingKeyFile, furtherSigningKeyFiles, publicUrl, tls } = server
  const problems = await Promise.all([
    existsSync(signingKeyFile)
      ? attempt('server.signingKeyFile', () => loadSigningKey(signingKeyFile, new URL(publicUrl).host))
      : attempt('server.signingKeyFile', () => writableFolder(signingKeyFile)),
    ...furtherSigningKeyFiles.map((file, index) =>
      attempt(`server.furtherSigningKeyFiles[${index}]`, () => readPrivateKey(file)),
    ),
    tls && attempt('server.tls.certFile', () => new X509Certificate(readFileSync(tls.certFile))),
    tls && attempt('server.tls.keyFile', () => fittingKey(tls)),
    store.kind === 'sqlite' && attempt('store', () => writableFolder(store.file)),
  ])
  return problems.filter((problem): problem is Problem => typeof problem === 'object')
}

async function attempt(path: string, work: () => unknown): Promise<Problem | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    return { path, message: (error as Error).message }
  }
}

/** What is wrong with the certificate itself is told by its own line. */
function fittingKey({ certFile, keyFile }: { certFile: string; keyFile: string }): void {
  const key = createPrivateKey(readFileSync(keyFile))
  const certificate = certificateIn(certFile)
  if (certificate === undefined || certificate.checkPrivateKey(key)) return
  throw new Error('is not the private key of server.tls.certFile (the two files must belong together)')
}

function certificateIn(file: string): X509Certificate | undefined {
  try {
    return new X509Certificate(readFileSync(file))
  } catch {
    return undefined
  }
}

/** The nearest folder that exists must be writable, because the file, or its folder, is made there. */
function writableFolder(file: string): void {
  let folder = dirname(file)
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder)
  try {
    accessSync(folder, constants.W_OK)
  } catch {
    throw new Error(
      `${file} cannot be made: the folder ${folder} is not writable (make it writable, or name another file)`,
    )
  }
}
