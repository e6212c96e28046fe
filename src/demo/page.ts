import type { Express, Response } from 'express'
import { type Html, html, raw } from '../core/html.ts'

export interface Page {
  readonly title: string
  /** Which colours: every cloud and app has its own. */
  readonly theme: 'alice' | 'bob' | 'notes'
  readonly body: Html
  /** Where the stylesheet and the script are, relative to the page. */
  readonly assets?: string
  /** Over the strict policy that every page has. */
  readonly policy?: Readonly<Record<string, string>>
}

const POLICY = {
  'default-src': "'none'",
  'style-src': "'self'",
  'script-src': "'self'",
  'connect-src': "'self'",
  'img-src': "'self' data:",
  'form-action': "'self'",
  'frame-ancestors': "'none'",
  'base-uri': "'none'",
}

/** Sends a page under a strict Content-Security-Policy; nothing comes from elsewhere. */
export function sendPage(res: Response, { title, theme, body, assets = '/', policy }: Page): void {
  const directives = Object.entries({ ...POLICY, ...policy }).map(([name, value]) => `${name} ${value}`)
  res.set({
    'content-security-policy': directives.join('; '),
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  })
  const markup = html`<!doctype html>
<html lang="en" data-theme="${theme}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:image/svg+xml,${encodeURIComponent(FAVICONS[theme])}">
<link rel="stylesheet" href="${assets}style.css">
<script src="${assets}script.js" defer></script>
</head>
${body}
</html>`
  res.type('html').send(markup.toString())
}

/** The stylesheet and the script of the clouds’ pages. */
export function serveAssets(app: Express): void {
  app.get('/style.css', (_req, res) => void res.type('css').send(STYLE))
  app.get('/script.js', (_req, res) => void res.type('js').send(SCRIPT))
}

/** The bar at the top of a cloud: whose it is, and who is signed in. */
export function topBar(brand: string, address: string): Html {
  return html`<header class="bar">
  <a class="brand" href="/">${CLOUD}<span>${brand}</span></a>
  <span class="account"><span class="address">${address}</span>${avatar(address)}</span>
</header>`
}

function avatar(name: string): Html {
  return html`<span class="avatar" aria-hidden="true">${name.charAt(0).toUpperCase()}</span>`
}

const PERMISSION_WORDS: Record<string, string> = { view: 'Can view', read: 'Can read', write: 'Can edit' }

/** The most that a list of permissions allows, in words. */
export function permissionChip(permissions: readonly string[]): Html {
  const most = ['write', 'read', 'view'].find((permission) => permissions.includes(permission)) ?? 'view'
  return html`<span class="chip" data-permission="${most}">${PERMISSION_WORDS[most]}</span>`
}

const icon = (paths: string) =>
  raw(
    `<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${paths}</svg>`,
  )

export const CLOUD = raw(
  '<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="9" fill="currentColor"/><path d="M10.5 22a4.5 4.5 0 0 1-.6-8.96 6.2 6.2 0 0 1 11.9-1.3A5.2 5.2 0 0 1 21.2 22Z" fill="#fff"/></svg>',
)
export const BACK = icon('<path d="M15 5l-7 7 7 7"/>')
export const NEW_TAB = icon('<path d="M14 4h6v6M20 4l-9 9M18 14v4a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2h4"/>')
const NOTE = icon(
  '<path d="M7 3h7l5 5v11a2 2 0 0 1-2 2H7a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2Z"/><path d="M14 3v5h5M9 13h6M9 17h4"/>',
)
const FOLDER = icon('<path d="M3 7a2 2 0 0 1 2-2h4l2 2.5h8a2 2 0 0 1 2 2V17a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2Z"/>')
const NOTEBOOK = icon(
  '<path d="M6 3h12a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1ZM9 3v18M3 8h3M3 12h3M3 16h3"/><path d="M13 9h3M13 13h3"/>',
)

export function resourceIcon(name: string, resourceType: string): Html {
  if (resourceType === 'folder') return FOLDER
  return name.endsWith('.ipynb') ? NOTEBOOK : NOTE
}

const favicon = (colour: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="9" fill="${colour}"/><path d="M10.5 22a4.5 4.5 0 0 1-.6-8.96 6.2 6.2 0 0 1 11.9-1.3A5.2 5.2 0 0 1 21.2 22Z" fill="#fff"/></svg>`

const FAVICONS = { alice: favicon('#c0410f'), bob: favicon('#4254c9'), notes: favicon('#0c7f62') }

export const STYLE = `
:root {
  color-scheme: light dark;
  --hue: 160;
  --strong: oklch(0.53 0.13 var(--hue));
  --brand: light-dark(var(--strong), oklch(0.78 0.12 var(--hue)));
  --on-brand: light-dark(#fff, oklch(0.2 0.05 var(--hue)));
  --tint: light-dark(oklch(0.96 0.025 var(--hue)), oklch(0.29 0.045 var(--hue)));
  --canvas: light-dark(oklch(0.982 0.006 var(--hue)), oklch(0.185 0.012 var(--hue)));
  --surface: light-dark(#fff, oklch(0.225 0.014 var(--hue)));
  --ink: light-dark(oklch(0.24 0.02 var(--hue)), oklch(0.95 0.006 var(--hue)));
  --muted: light-dark(oklch(0.49 0.02 var(--hue)), oklch(0.74 0.015 var(--hue)));
  --line: light-dark(oklch(0.91 0.012 var(--hue)), oklch(0.33 0.018 var(--hue)));
  --danger: light-dark(#b3261e, #ffb4ab);
  --shadow: 0 1px 2px rgb(0 0 0 / 0.05), 0 6px 20px rgb(0 0 0 / 0.05);
}
[data-theme=alice] { --hue: 40; --strong: oklch(0.55 0.175 38) }
[data-theme=bob] { --hue: 272; --strong: oklch(0.53 0.17 272) }
* { box-sizing: border-box }
html, body { height: 100% }
body { margin: 0; display: flex; flex-direction: column; background: var(--canvas); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; -webkit-font-smoothing: antialiased }
a { color: inherit }
:focus-visible { outline: 2px solid var(--brand); outline-offset: 2px }
h1, h2, h3, p { margin: 0 }
h1 { font-size: clamp(1.6rem, 1.2rem + 1.6vw, 2.1rem); line-height: 1.2; letter-spacing: -0.02em; font-weight: 680 }
h2 { font-size: 1.05rem; font-weight: 640; margin: 2.5rem 0 0.9rem }
h3 { font-size: 1rem; font-weight: 620; overflow-wrap: anywhere }
.icon { width: 1.35rem; height: 1.35rem; flex: none }
.muted { color: var(--muted) }
.small { font-size: 0.875rem }

.bar { display: flex; align-items: center; justify-content: space-between; gap: 1rem; flex: none; min-height: 60px;
  padding: 0.6rem clamp(1rem, 4vw, 2rem); background: var(--surface); border-bottom: 1px solid var(--line) }
.brand { display: flex; align-items: center; gap: 0.65rem; font-weight: 680; letter-spacing: -0.01em; text-decoration: none; white-space: nowrap }
.mark { width: 2rem; height: 2rem; color: var(--strong) }
.account { display: flex; align-items: center; gap: 0.65rem; min-width: 0; font-size: 0.875rem; color: var(--muted) }
.address { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.avatar { display: grid; place-items: center; flex: none; width: 2rem; height: 2rem; border-radius: 50%; font-weight: 640; font-size: 0.9rem;
  background: var(--tint); color: var(--brand) }

main { width: 100%; max-width: 62rem; margin: 0 auto; padding: clamp(1.75rem, 5vw, 3.25rem) clamp(1rem, 4vw, 2rem) 4rem }
.lead { margin-top: 0.5rem; max-width: 42rem; color: var(--muted) }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); align-items: start; margin: 0; padding: 0; list-style: none }
.card { display: flex; flex-direction: column; gap: 1rem; padding: 1.1rem; border: 1px solid var(--line); border-radius: 14px;
  background: var(--surface); box-shadow: var(--shadow) }
.item { display: flex; gap: 0.85rem; align-items: center; min-width: 0 }
.item > div { min-width: 0; flex: 1 }
.tile { display: grid; place-items: center; flex: none; width: 2.75rem; height: 2.75rem; border-radius: 11px; background: var(--tint); color: var(--brand) }
.row { display: flex; align-items: center; justify-content: space-between; gap: 0.75rem; flex-wrap: wrap }
.rows { padding: 0; overflow: hidden; gap: 0; margin: 0; list-style: none }
.rows > li { display: flex; align-items: center; gap: 1rem; justify-content: space-between; padding: 0.85rem 1.1rem; flex-wrap: wrap }
.rows > li + li { border-top: 1px solid var(--line) }
.rows .item { flex: 1 1 16rem }
.empty { padding: 2.25rem 1.25rem; text-align: center; color: var(--muted); border: 1.5px dashed var(--line); border-radius: 14px }

.chip { display: inline-flex; align-items: center; gap: 0.4rem; padding: 0.15rem 0.65rem; border-radius: 99px; font-size: 0.8125rem; font-weight: 560;
  background: var(--tint); color: var(--brand); white-space: nowrap }
.chips { display: flex; gap: 0.4rem; flex-wrap: wrap }
.button, button { display: inline-flex; align-items: center; justify-content: center; gap: 0.45rem; min-height: 2.5rem; padding: 0.45rem 1.05rem; border: 1px solid transparent;
  border-radius: 10px; background: var(--brand); color: var(--on-brand); font: inherit; font-weight: 600; font-size: 0.9375rem; text-decoration: none; cursor: pointer;
  transition: filter 0.12s, background 0.12s }
.button:hover, button:hover { filter: brightness(1.07) }
.quiet { background: transparent; color: var(--ink); border-color: var(--line) }
.quiet:hover { background: var(--tint); filter: none }
.quiet.danger { color: var(--danger) }
.button .icon { width: 1.05rem; height: 1.05rem }

details > summary { list-style: none; width: 100% }
details > summary::-webkit-details-marker { display: none }
details[open] > summary { background: var(--tint); color: var(--ink); filter: none }
.options { display: grid; gap: 1rem; margin-top: 1rem }
fieldset { border: 0; margin: 0; padding: 0; min-width: 0 }
legend { padding: 0; margin-bottom: 0.4rem; font-size: 0.8125rem; font-weight: 600; color: var(--muted) }
.choice { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; padding: 3px; gap: 3px; border-radius: 10px; background: var(--tint) }
.choice label { position: relative; text-align: center; cursor: pointer; font-size: 0.875rem }
.choice input { position: absolute; inset: 0; opacity: 0; margin: 0; pointer-events: none }
.choice span { display: block; padding: 0.35rem 0.5rem; border-radius: 8px; font-weight: 560; color: var(--muted) }
.choice :checked + span { background: var(--surface); color: var(--ink); box-shadow: 0 1px 3px rgb(0 0 0 / 0.16) }
.choice :focus-visible + span { outline: 2px solid var(--brand) }

.notice { display: flex; gap: 0.75rem; padding: 0.85rem 1.1rem; margin-bottom: 1.75rem; border-radius: 12px; border: 1px solid var(--danger); color: var(--danger); overflow-wrap: anywhere }
.centre { margin: auto; max-width: 30rem; padding: 2rem 1.5rem; text-align: center; display: grid; gap: 0.9rem; justify-items: center }

.frame { flex: 1; width: 100%; min-height: 0; border: 0; background: var(--surface) }
.opened .bar { min-height: 52px; padding-block: 0.35rem }
.opened .account, .note .account { flex: none }
.opened .item { gap: 0.6rem }
.opened .quiet { min-height: 2.1rem; padding: 0.25rem 0.7rem; font-size: 0.875rem }
.opened h1 { font-size: 1rem; font-weight: 640; letter-spacing: 0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.opened .from { font-size: 0.8125rem; line-height: 1.25; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.round { padding: 0.25rem; width: 2.1rem; flex: none }
@media (max-width: 34rem) {
  .bar .address, .opened .chip, .opened .label { display: none }
  .rows form, .rows button { width: 100% }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important } }
`

/** What the clouds’ pages do by script: launch, reload when the shares have changed, and reopen from inside the frame. */
const SCRIPT = `
document.querySelector('#ocm-launch')?.submit()

const live = document.querySelector('[data-live]')
if (live) new EventSource('/events').onmessage = ({ data }) => { if (data !== live.dataset.live) location.reload() }

const frame = document.querySelector('iframe')
addEventListener('message', ({ data, source, origin }) => {
  if (frame && source === frame.contentWindow && origin === location.origin && data === 'reopen') location.reload()
})

document.querySelector('[data-reopen]')?.addEventListener('click', (event) => {
  if (window.parent === window) return
  event.preventDefault()
  window.parent.postMessage('reopen', location.origin)
})
`
