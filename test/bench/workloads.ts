/** Path of the app, the same behind every proxy. */
export const APP_BASE = '/app/'

/** What is asked of a subject, and how; one unit is one answered request, or one echoed message. */
interface Workload {
  readonly name: string
  readonly title: string
  readonly unit: 'request' | 'message'
  /** Below the app’s base. */
  readonly path: string
  /** Each with one request or message under way. */
  readonly connections: number
  /** Of the plan’s warm-up, what is enough for this one. */
  readonly warmUpShare: number
}

export const WORKLOADS = [
  { name: '1k', title: '1 KiB', unit: 'request', path: '1k', connections: 32, warmUpShare: 1 },
  { name: '100k', title: '100 KiB', unit: 'request', path: '100k', connections: 32, warmUpShare: 0.25 },
  { name: '10m', title: '10 MiB', unit: 'request', path: 'big?bytes=10485760', connections: 4, warmUpShare: 0.005 },
  { name: 'echo', title: 'WebSocket echo, 64 bytes', unit: 'message', path: 'echo', connections: 32, warmUpShare: 1 },
] as const satisfies readonly Workload[]

export type WorkloadName = (typeof WORKLOADS)[number]['name']

export function workloadOf(name: WorkloadName): Workload {
  const found = WORKLOADS.find((workload) => workload.name === name)
  if (found === undefined) throw new Error(`there is no workload ${name}`)
  return found
}

/** Header lines of a request, by name. */
export type Headers = Readonly<Record<string, string>>

/** What a browser sends with every request of a page. */
export const BROWSER_HEADERS: Headers = {
  'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
  Accept: '*/*',
  'Accept-Language': 'en-GB,en;q=0.9',
  'Accept-Encoding': 'gzip, deflate, br, zstd',
  'Sec-Fetch-Site': 'same-origin',
  'Sec-Fetch-Mode': 'cors',
  'Sec-Fetch-Dest': 'empty',
  Connection: 'keep-alive',
}

/** A GET as a browser sends it. @param headers `Host`, and whatever else the subject needs */
export function requestText(path: string, headers: Headers): string {
  const lines = Object.entries({ ...headers, ...BROWSER_HEADERS }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** @returns how much of the body is still to come after the chunk that has the head of the answer @throws {Error} unless it is a 200 with a length */
export function missingAfterHead(chunk: Buffer): number {
  const end = chunk.indexOf('\r\n\r\n')
  const head = chunk.toString('latin1', 0, end)
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
  if (!head.startsWith('HTTP/1.1 200 ') || length === undefined) throw new Error(`an unexpected answer:\n${head}`)
  return Number(length) - (chunk.length - end - 4)
}

/** One sample to take. */
export interface Job {
  readonly workload: WorkloadName
  /** Instead of the workload’s own. */
  readonly path?: string
  readonly port: number
  /** `Host`, and whatever else this subject needs. */
  readonly headers: Headers
  readonly milliseconds: number
}

/** What the load generator counted during one job. */
export interface Counted {
  readonly units: number
  readonly seconds: number
  readonly p50Microseconds: number
  readonly p99Microseconds: number
}
