import { randomBytes } from 'node:crypto'
import { type Html, html, raw } from '../../core/html.ts'
import { frameAncestorsDirective } from '../../proxy/response-headers.ts'

/** A page of ours: no external assets, a strict policy with a nonce. */
export interface Page {
  readonly title: string
  readonly body: Html
  /** Our own script, run with the page’s nonce. */
  readonly script?: string
  /** Who may frame it: sources of `frame-ancestors`. */
  readonly frameAncestors: readonly string[]
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5a6577; --paper: #f4f6f9; --card: #ffffff; --line: #dfe4ec; --accent: #2f5fd0; --warn: #b3541e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf3; --soft: #9aa6b8; --paper: #12161d; --card: #1b212b; --line: #2c3543; --accent: #7fa4ff; --warn: #f0a06a; } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { width: 100%; max-width: 32rem; background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 2rem; box-shadow: 0 1px 2px rgb(0 0 0 / .04), 0 12px 32px rgb(0 0 0 / .06) }
.mark { display: grid; place-items: center; width: 2.75rem; height: 2.75rem; border-radius: 12px; background: color-mix(in srgb, var(--tone, var(--accent)) 14%, transparent); color: var(--tone, var(--accent)); margin-bottom: 1.1rem }
.warn { --tone: var(--warn) }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .5rem; overflow-wrap: anywhere }
h2 { font-size: 1rem; margin: 1.2rem 0 .4rem }
p { margin: 0 0 .75rem; overflow-wrap: anywhere }
.soft { color: var(--soft) }
.actions { margin-top: 1.4rem; display: flex; gap: .75rem; flex-wrap: wrap }
a.button, button { appearance: none; border: 0; font: inherit; font-weight: 600; cursor: pointer; text-decoration: none; display: inline-block; padding: .6rem 1.1rem; border-radius: 9px; background: var(--accent); color: var(--card) }
a.button:focus-visible, button:focus-visible { outline: 3px solid color-mix(in srgb, var(--accent) 45%, transparent); outline-offset: 2px }
progress { appearance: none; width: 100%; height: .6rem; border: 0; border-radius: 99px; overflow: hidden; background: var(--line); display: block; margin: 1.25rem 0 .6rem }
progress::-webkit-progress-bar { background: var(--line) }
progress::-webkit-progress-value { background: var(--accent); border-radius: 99px; transition: inline-size .4s ease }
progress::-moz-progress-bar { background: var(--accent); border-radius: 99px }
.one-line { overflow: hidden; white-space: nowrap; text-overflow: ellipsis; font-size: .88rem; min-height: 1.4em }
.list { list-style: none; margin: 1rem 0; padding: 0; max-height: 40vh; overflow-y: auto; border: 1px solid var(--line); border-radius: 9px }
.list li { padding: .5rem .8rem; border-top: 1px solid var(--line); overflow-wrap: anywhere }
.list li:first-child { border-top: 0 }
.list span { display: block; color: var(--soft); font-size: .85rem }
footer { margin-top: 1.6rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .82rem; color: var(--soft) }
code { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; font-size: .92em }
[hidden] { display: none !important }
@media (prefers-reduced-motion: reduce) { progress::-webkit-progress-value { transition: none } }
`

/** What to send for a page, whatever its status. */
export function renderPage({ title, body, script, frameAncestors }: Page): {
  headers: Record<string, string>
  markup: string
} {
  const nonce = randomBytes(16).toString('base64')
  const policy = [
    "default-src 'none'",
    `style-src 'nonce-${nonce}'`,
    ...(script === undefined ? [] : [`script-src 'nonce-${nonce}'`, "connect-src 'self'"]),
    "base-uri 'none'",
    "form-action 'none'",
    frameAncestorsDirective(frameAncestors),
  ]
  const markup = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<style nonce="${nonce}">${raw(STYLE)}</style>
</head>
<body>
<main>${body}</main>
${script !== undefined && html`<script nonce="${nonce}">${raw(script)}</script>`}
</body>
</html>
`.toString()
  return {
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': policy.join('; '),
      'cache-control': 'no-store',
    },
    markup,
  }
}

const ICONS = {
  info: '<circle cx="12" cy="12" r="9"/><path d="M12 11v5M12 7.5v.5"/>',
  alert: '<path d="M12 4 2.8 19.5h18.4z"/><path d="M12 10v4M12 16.7v.3"/>',
  clock: '<circle cx="12" cy="12" r="9"/><path d="M12 7v5l3.5 2"/>',
  rocket:
    '<path d="M5 15c-1 1-1.5 4-1.5 4s3-.5 4-1.5M9 15l-2-2c1-4 4-8.500 11.500-9.500C17.500 11 13 14 9 15z"/><circle cx="14.500" cy="8.500" r="1.300"/>',
}

/** The mark above a page’s heading; decoration only. */
export function mark(icon: keyof typeof ICONS, tone: 'accent' | 'warn' = 'accent'): Html {
  const drawing = `<svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${ICONS[icon]}</svg>`
  return html`<div class="mark ${tone}">${raw(drawing)}</div>`
}
