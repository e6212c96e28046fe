import { type Html, html } from '../../core/html.ts'
import type { KeptFile } from './kept-bytes.ts'

/** A folder’s files and subfolders. */
export interface Listing {
  /** Below the share, decoded, `''` or ends in `/`. */
  readonly path: string
  readonly folders: readonly string[]
  readonly files: readonly string[]
}

/** What can be opened in a shared folder: links relative to `S.ocm/files/`. */
export function listingPage(title: string, { path, folders, files }: Listing): Html {
  const link = (name: string, slash: string) =>
    html`<li><a href="${pathname(`${path}${name}`)}${slash}">${name}${slash}</a></li>`
  const empty = folders.length + files.length === 0
  return html`
<h1>${title}</h1>
${path !== '' && html`<p class="soft">${path}</p>`}
${empty ? html`<p>There is nothing here that the editor opens.</p>` : html`<p>Choose what to open.</p>`}
<ul>${folders.map((name) => link(name, '/'))}${files.map((name) => link(name, ''))}</ul>`

  /** From `S.ocm/files/<path>` to `S.ocm/files/<name>`. */
  function pathname(name: string): string {
    const depth = path.split('/').length - 1
    return '../'.repeat(depth) + name.split('/').map(encodeURIComponent).join('/')
  }
}

/** What could not be saved: links relative to `S.ocm/kept/`. */
export function keptPage(files: readonly KeptFile[]): Html {
  const item = ({ id, name, size, keptAt, until }: KeptFile) =>
    html`<li><a href="${id}">${name}</a> <span class="soft">${size} bytes, of ${time(keptAt)}, until ${time(until)}</span></li>`
  if (files.length === 0) return html`<h1>Nothing is kept for you</h1><p>Everything that you wrote was saved.</p>`
  return html`
<h1>What could not be saved</h1>
<p>These versions were kept for you when they could not be put into the share. Download what you need.</p>
<ul>${files.map(item)}</ul>`
}

function time(epochSeconds: number): string {
  return `${new Date(epochSeconds * 1000).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}
