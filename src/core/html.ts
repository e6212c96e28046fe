/** Markup that is safe to send: made by `html`, which escapes every value, or vouched for with `raw`. */
export class Html {
  readonly #markup: string

  constructor(markup: string) {
    this.#markup = markup
  }

  toString(): string {
    return this.#markup
  }
}

/** What may stand in a template: text is escaped, markup is kept, lists are joined, "nothing" is nothing. */
export type HtmlValue = Html | string | number | false | null | undefined | readonly HtmlValue[]

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/**
 * A template for HTML: `` html`<p title="${name}">${name}</p>` ``.
 *
 * Safe for element content and for quoted attributes. Does NOT make a value safe as a URL, or inside `<script>` and `<style>`.
 */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return new Html(strings.reduce((markup, text, index) => markup + render(values[index - 1]) + text))
}

/** Markup of our own making, taken as it is. Never for anything that came from outside. */
export function raw(markup: string): Html {
  return new Html(markup)
}

function render(value: HtmlValue): string {
  if (value === false || value === null || value === undefined) return ''
  if (value instanceof Html) return value.toString()
  if (typeof value === 'object') return value.map(render).join('')
  return String(value).replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char)
}
