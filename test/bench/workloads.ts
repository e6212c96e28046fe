/** Path of the app, the same behind every proxy. */
export const APP_BASE = '/app/'

export const CONNECTIONS = 32

/** What is asked of every subject; one unit is one answered request, or one echoed message. */
export const WORKLOADS = [
  { name: '1k', title: '1 KiB', unit: 'request' },
  { name: '100k', title: '100 KiB', unit: 'request' },
  { name: 'echo', title: 'WebSocket echo, 64 bytes', unit: 'message' },
] as const

export type WorkloadName = (typeof WORKLOADS)[number]['name']

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

/** One sample to take. */
export interface Job {
  readonly workload: WorkloadName
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
