import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { chartOf } from './chart.ts'
import { figureOf } from './figures.ts'
import { markdownOf, type Report, withTables } from './report.ts'

const docs = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')

function costOf(cpu: number, beside = 0) {
  const [one, cpuMicroseconds, besideMicroseconds] = [[1], [cpu], [beside]].map(figureOf)
  if (!one || !cpuMicroseconds || !besideMicroseconds) throw new Error('there are three')
  return { perSecond: one, p50Milliseconds: one, p99Milliseconds: one, cpuMicroseconds, besideMicroseconds }
}

/** @param gateway its CPU µs for 1 KiB, where configurable-http-proxy needs 400 */
function reportWith(gateway: number): Report {
  const figures = {
    app: costOf(30),
    'configurable-http-proxy': costOf(400),
    'oauth2-proxy': costOf(300, 40),
    gateway: costOf(gateway),
  }
  const ratios = { 'oauth2-proxy': figureOf([340 / 400]), gateway: figureOf([gateway / 400]) }
  return {
    machine: { processor: 'A processor', cores: 2, node: 'v24.0.0' },
    versions: { nginx: '1.22.1' },
    starts: 3,
    samples: 3,
    workloads: [{ workload: '1k', figures, ratios }],
  }
}

const report = JSON.parse(docs('performance.json')) as Report

describe('docs/performance', () => {
  it('has the tables of its figures', () => {
    const document = docs('performance.md')
    expect(withTables(document, report)).toBe(document)
  })

  it('has the chart of its figures', () => {
    expect(docs('performance.svg')).toBe(chartOf(report))
  })

  it('has no date', () => {
    expect(docs('performance.json') + docs('performance.md')).not.toMatch(/20\d\d-\d\d/)
  })
})

describe('the tables', () => {
  it('show what is asked for beside a proxy apart from its own', () => {
    expect(markdownOf(reportWith(100))).toContain('| oauth2-proxy, Redis | 300 (300–300) + 40.0 = 0.85 × |')
  })

  it('compare with configurable-http-proxy, but not the app', () => {
    const text = markdownOf(reportWith(100))
    expect(text).toContain('| this gateway, SQLite | 100 (100–100) = 0.25 × |')
    expect(text).toContain('| the app itself, no proxy | 30.0 (30.0–30.0) |')
  })

  it('say of every aim whether it is reached', () => {
    expect(markdownOf(reportWith(180))).toContain('| 1 KiB: CPU, × configurable-http-proxy | 0.45 | ≤ 0.45 | yes |')
    expect(markdownOf(reportWith(200))).toContain('| 1 KiB: CPU, × configurable-http-proxy | 0.50 | ≤ 0.45 | **no** |')
    expect(markdownOf(reportWith(200))).toContain('| CPU µs per launch | not measured |')
  })

  it('take the place of others between the markers, and leave the rest alone', () => {
    const document = docs('performance.md')
    const changed = withTables(document, reportWith(123))
    expect(changed).toContain('123 (123–123)')
    expect(withTables(changed, report)).toBe(document)
    expect(() => withTables('no markers', report)).toThrow('are needed')
    expect(() => withTables(document + document, report)).toThrow('are needed')
  })
})

describe('the chart', () => {
  const svg = chartOf(reportWith(100))

  it('has a bar in proportion for each proxy, and none for the app', () => {
    const widths = [...svg.matchAll(/<rect class="([^"]+)" x="190" y="\d+" width="([\d.]+)"/g)]
    expect(widths.map(([, kind, width]) => [kind, Number(width)])).toEqual([
      ['open', 440],
      ['session', 330],
      ['ours', 110],
    ])
  })

  it('stays within its frame', () => {
    const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg) ?? []
    const places = [...svg.matchAll(/ x="([\d.]+)" y="([\d.]+)"(?: width="([\d.]+)")?/g)]
    for (const [, x, y, wide = '0'] of places) {
      expect(Number(x) + Number(wide)).toBeLessThanOrEqual(Number(width))
      expect(Number(y)).toBeLessThanOrEqual(Number(height))
    }
  })

  it('is readable on dark and on light', () => {
    expect(svg).toContain('prefers-color-scheme: dark')
  })
})
