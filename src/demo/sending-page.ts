import { type Html, html } from '../core/html.ts'
import { type Page, permissionChip, resourceIcon, topBar } from './page.ts'
import type { Resource } from './resources.ts'
import { displayName, type SentShare } from './sent-share.ts'

interface View {
  readonly brand: string
  readonly owner: string
  readonly resources: readonly Resource[]
  readonly contacts: readonly string[]
  readonly appName: string | undefined
  readonly shares: readonly SentShare[]
  readonly error: string | undefined
}

/** Alice’s cloud: what she has, what she shares, with whom. */
export function sendingPage({ brand, owner, resources, contacts, appName, shares, error }: View): Page {
  const [contact] = contacts
  const body = html`<body>
${topBar(brand, owner)}
<main>
  ${error && html`<p class="notice" role="alert">${error}</p>`}
  <h1>Your files</h1>
  <p class="lead">${sharingHint(contact, appName)}</p>
  <h2>All files</h2>
  <ul class="grid">${resources.map((resource) => resourceCard(resource, contact))}</ul>
  <h2>Shared by you</h2>
  ${shares.length === 0 ? html`<p class="empty">Nothing yet. Share a file above, and it appears here.</p>` : html`<ul class="card rows">${shares.map(shareRow)}</ul>`}
</main>
</body>`
  return { title: `Files · ${brand}`, theme: 'alice', body }
}

function sharingHint(contact: string | undefined, appName: string | undefined): string {
  if (contact === undefined || appName === undefined)
    return 'Sharing starts once this cloud knows somebody, and an app to share with.'
  return `Share one of these with ${contact}, who opens it in ${appName} without leaving their own cloud.`
}

function resourceCard({ name, resourceType, description }: Resource, contact: string | undefined): Html {
  return html`<li class="card">
  <div class="item">
    <span class="tile">${resourceIcon(name, resourceType)}</span>
    <div><h3>${name}</h3><p class="muted small">${description}</p></div>
  </div>
  ${contact && shareForm(name, contact)}
</li>`
}

function shareForm(resource: string, contact: string): Html {
  return html`<details>
  <summary class="button">Share with ${displayName(contact)}</summary>
  <form class="options" method="post" action="/share">
    <input type="hidden" name="resource" value="${resource}">
    ${choice('Permission', 'permission', { view: 'View', read: 'Read', write: 'Edit' }, 'write')}
    ${choice('Opens', 'target', { iframe: 'Inside their cloud', blank: 'In a new tab' }, 'iframe')}
    <button>Share</button>
  </form>
</details>`
}

function choice(legend: string, name: string, options: Record<string, string>, chosen: string): Html {
  const radios = Object.entries(options).map(
    ([value, label]) =>
      html`<label><input type="radio" name="${name}" value="${value}"${value === chosen && ' checked'}><span>${label}</span></label>`,
  )
  return html`<fieldset><legend>${legend}</legend><div class="choice">${radios}</div></fieldset>`
}

function shareRow({ providerId, resource, shareWith, permissions, targets }: SentShare): Html {
  return html`<li>
  <div class="item">
    <span class="tile">${resourceIcon(resource.name, resource.resourceType)}</span>
    <div><h3>${resource.name}</h3><p class="muted small">with ${shareWith}</p></div>
  </div>
  <span class="chips">${permissionChip(permissions)}<span class="chip">${targets.includes('iframe') ? 'In their cloud' : 'New tab'}</span></span>
  <form method="post" action="/unshare">
    <input type="hidden" name="providerId" value="${providerId}">
    <button class="quiet danger" aria-label="Stop sharing ${resource.name} with ${shareWith}">Unshare</button>
  </form>
</li>`
}
