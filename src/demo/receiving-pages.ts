import { type Html, html } from '../core/html.ts'
import { BACK, CLOUD, NEW_TAB, type Page, permissionChip, resourceIcon, topBar } from './page.ts'
import type { Launch, ReceivedShare } from './receiving-server.ts'

interface ListView {
  readonly brand: string
  readonly address: string
  readonly shares: readonly ReceivedShare[]
  /** Counts the changes of the list: the page reloads when it is behind. */
  readonly revision: number
}

/** Bob’s cloud: what others share with him. */
export function listPage({ brand, address, shares, revision }: ListView): Page {
  const body = html`<body>
${topBar(brand, address)}
<main data-live="${revision}">
  <h1>Shared with you</h1>
  <p class="lead">What people on other clouds share with you. It opens right here, in the app of the cloud it comes from.</p>
  <h2>Shares</h2>
  ${shares.length === 0 ? html`<p class="empty">Nothing yet. Once somebody shares with <strong>${address}</strong>, it appears here by itself.</p>` : html`<ul class="grid">${shares.map(shareCard)}</ul>`}
</main>
</body>`
  return { title: `Shared with you · ${brand}`, theme: 'bob', body }
}

function shareCard({ id, name, owner, resourceType, protocol: { webapp } }: ReceivedShare): Html {
  const framed = webapp.targets.includes('iframe')
  return html`<li class="card">
  <div class="item">
    <span class="tile">${resourceIcon(name, resourceType)}</span>
    <div><h3>${name}</h3><p class="muted small">from ${owner}</p></div>
  </div>
  <div class="row">
    <span class="chips">${permissionChip(webapp.permissions)}${webapp.appName && html`<span class="chip">${webapp.appName}</span>`}</span>
    ${framed ? html`<a class="button" href="/open/${id}">Open</a>` : html`<a class="button" href="/open/${id}/tab" target="_blank" rel="noopener">Open ${NEW_TAB}</a>`}
  </div>
</li>`
}

/** An open share: this cloud’s bar, and the app in an iframe that fills the rest. */
export function openedPage({ brand, share, launch }: { brand: string; share: ReceivedShare; launch: Launch }): Page {
  const { webapp } = share.protocol
  const body = html`<body class="opened">
<header class="bar">
  <div class="item">
    <a class="button quiet round" href="/" aria-label="Back to all shares">${BACK}</a>
    ${CLOUD}
    <div><h1>${share.name}</h1><p class="muted from">from ${share.owner}</p></div>
  </div>
  <span class="account">
    ${permissionChip(webapp.permissions)}
    ${webapp.targets.includes('blank') && html`<a class="button quiet" href="/open/${share.id}/tab" target="_blank" rel="noopener"><span class="label">New tab</span> ${NEW_TAB}</a>`}
  </span>
</header>
<iframe class="frame" name="ocm-target" title="${share.name}" allow="fullscreen" referrerpolicy="no-referrer" sandbox="${sandboxFor(webapp.permissions)}"></iframe>
${launchForm(launch, 'ocm-target')}
</body>`
  return { title: `${share.name} · ${brand}`, theme: 'bob', body, policy: launchPolicy(launch) }
}

/** The launch alone: this tab becomes the app. */
export function launchPage({ brand, share, launch }: { brand: string; share: ReceivedShare; launch: Launch }): Page {
  const body = html`<body>
<div class="centre">${CLOUD}<p class="muted">Opening ${share.name} …</p></div>
${launchForm(launch, '_self')}
</body>`
  return { title: `${share.name} · ${brand}`, theme: 'bob', body, policy: launchPolicy(launch) }
}

/** Why a share cannot be opened. */
export function failurePage({
  brand,
  address,
  title,
  text,
}: {
  brand: string
  address: string
  title: string
  text: string
}): Page {
  const body = html`<body>
${topBar(brand, address)}
<div class="centre">${CLOUD}<h1>${title}</h1><p class="muted">${text}</p><a class="button quiet" href="/">All shares</a></div>
</body>`
  return { title: `${title} · ${brand}`, theme: 'bob', body }
}

/** Where the app sends a browser whose session has ended, mostly inside the frame of the open share. */
export function endedPage({
  brand,
  share,
  revision,
}: {
  brand: string
  share: ReceivedShare | undefined
  revision: number
}): Page {
  const title = share === undefined ? 'This share has ended' : 'Your session has ended'
  const what = share === undefined ? html`It is no longer shared with you.` : html`Open “${share.name}” again to go on.`
  const body = html`<body>
<div class="centre" data-live="${revision}">
  ${CLOUD}
  <h1>${title}</h1>
  <p class="muted">${what}</p>
  ${share && html`<a class="button" href="/open/${share.id}" data-reopen>Open again</a>`}
</div>
</body>`
  return { title: `${title} · ${brand}`, theme: 'bob', body, policy: { 'frame-ancestors': "'self'" } }
}

/** Nextcloud’s choice: a share that may only be looked at gets no forms. */
function sandboxFor(permissions: readonly string[]): string {
  const viewOnly = permissions.every((permission) => permission === 'view')
  return `allow-scripts allow-same-origin allow-popups${viewOnly ? '' : ' allow-forms'}`
}

function launchForm({ action, fields }: Launch, target: string): Html {
  const inputs = Object.entries(fields).map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
  )
  return html`<form id="ocm-launch" method="post" action="${action}" target="${target}" hidden>${inputs}</form>`
}

/** The form goes to the app’s origin only; the frame also comes back here when its session has ended. */
function launchPolicy({ action }: Launch): Record<string, string> {
  const { origin } = new URL(action)
  return { 'form-action': origin, 'frame-src': `${origin} 'self'` }
}
