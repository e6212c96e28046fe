import { describe, expect, it } from 'vitest'
import { type HtmlValue, html, raw } from '../../../src/core/html.ts'

describe('the html template', () => {
  it('escapes text, in content and in quoted attributes', () => {
    const hostile = `<script>"'&`
    const escaped = '&lt;script&gt;&quot;&#39;&amp;'
    expect(`${html`<p title="${hostile}">${hostile}</p>`}`).toBe(`<p title="${escaped}">${escaped}</p>`)
  })

  it('keeps markup that was made by it, or vouched for', () => {
    expect(`${html`<p>${html`<b>${'<'}</b>`}${raw('<hr>')}</p>`}`).toBe('<p><b>&lt;</b><hr></p>')
  })

  it('joins lists, escaping what is in them', () => {
    expect(`${html`<ul>${['<', html`<li>`, [1]]}</ul>`}`).toBe('<ul>&lt;<li>1</ul>')
  })

  it.each<HtmlValue>([false, null, undefined])('shows nothing for %s', (nothing) => {
    expect(`${html`<p>${nothing}</p>`}`).toBe('<p></p>')
  })

  it('shows a zero', () => {
    expect(`${html`<p>${0}</p>`}`).toBe('<p>0</p>')
  })
})
