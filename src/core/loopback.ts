/** Whether a host name (no port, no brackets) can only be this machine: `localhost`, `*.localhost` (RFC 6761 §6.3), 127.0.0.0/8, `::1`. */
export function isLoopbackHost(hostname: string): boolean {
  const name = hostname.toLowerCase()
  return name === 'localhost' || name.endsWith('.localhost') || name === '::1' || /^127(?:\.\d{1,3}){3}$/.test(name)
}
