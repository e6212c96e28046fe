import { expect } from 'vitest'

const MIN_LENGTH = 8
const JWT = /eyJ[\w-]{8,}\.[\w-]{8,}/

const secrets = new Set<string>()

/** Remembers a token, cookie or password: from now on nothing that the gateway writes may contain it. @returns the value */
export function keepSecret(value: string): string {
  if (value.length >= MIN_LENGTH) secrets.add(value)
  return value
}

/** Nothing that was kept secret, and nothing that looks like a JWT, in what the gateway wrote. */
export function expectNoSecrets(written: string, where: string): void {
  const spelled = [...secrets].flatMap((secret) => [secret, encodeURIComponent(secret), btoa(encodeURI(secret))])
  expect(
    spelled.filter((secret) => written.includes(secret)),
    `secrets in ${where}`,
  ).toEqual([])
  expect(written.match(JWT)?.[0], `a JWT in ${where}`).toBeUndefined()
}

/** Secrets in a file, say a database, whatever its encoding. */
export function secretsIn(bytes: Buffer): string[] {
  return [...secrets].filter((secret) => bytes.includes(secret))
}
