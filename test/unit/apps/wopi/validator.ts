import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { XMLParser } from 'fast-xml-parser'
import { type ProofPair, signProof, ticksOf } from '../../../flow/wopi-editor.ts'

/** One element of the test cases: its name, its attributes, and what is in it, in order. */
interface Element {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: readonly Element[]
  readonly text: string
}

export interface ValidatorRequest {
  readonly method: 'GET' | 'POST'
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

export interface ValidatorResponse {
  readonly status: number
  header(name: string): string | undefined
  readonly body: Buffer
}

export interface ValidatorOptions {
  readonly wopiSrc: string
  readonly token: string
  /** What discovery says to the host. */
  readonly keys: { readonly current: ProofPair; readonly old: ProofPair }
  send(request: ValidatorRequest): Promise<ValidatorResponse>
}

export interface Outcome {
  readonly group: string
  readonly name: string
  readonly result: 'pass' | 'fail' | 'skipped'
  readonly why: string
}

/** A rule that an answer broke. */
class Broken extends Error {}

/**
 * Runs Microsoft’s test cases for WOPI hosts, after the semantics of their runner: prerequisites before each case, requests in
 * order, the first broken rule ends a case, cleaning up always runs, and the file’s content is carried over.
 *
 * Knows the operations and rules that a host with locks and updates is asked for, and no others.
 */
export function createValidator(folder: string, options: ValidatorOptions) {
  const root = parse(readFileSync(join(folder, 'TestCases.xml'), 'utf8'))
  const files = new Map(
    every(only(root, 'Resources'), 'File').map(({ attributes }) => [attributes.Id ?? '', contentOf(attributes)]),
  )
  const prerequisites = new Map(
    every(only(root, 'PrereqCases'), 'TestCase').map((each) => [each.attributes.Name ?? '', each]),
  )
  const schemas = new Map<string, Schema>()

  function schemaOf(name: string): Schema {
    const known = schemas.get(name) ?? readSchema(join(folder, 'JsonSchemas', `${name}.json`))
    schemas.set(name, known)
    return known
  }

  async function runCase(testCase: Element): Promise<void> {
    const state = new Map<string, string>()
    try {
      for (const request of only(testCase, 'Requests').children) await runRequest(request, state)
    } finally {
      const cleaning = testCase.children.find(({ name }) => name === 'CleanupRequests')
      for (const request of cleaning?.children ?? []) await exchange(request, state)
    }
  }

  async function runRequest(request: Element, state: Map<string, string>): Promise<void> {
    const response = await exchange(request, state)
    const length = response.header('content-length')
    if (length !== undefined && Number(length) !== response.body.length)
      throw new Broken('Content-Length is not the body’s')
    const validators = request.children.find(({ name }) => name === 'Validators')
    if (validators === undefined) statusIs(response, 200)
    else for (const validator of validators.children) validate(validator, response, state)
    for (const saved of request.children.find(({ name }) => name === 'SaveState')?.children ?? [])
      state.set(saved.attributes.Name ?? '', savedValue(saved.attributes, response))
  }

  async function exchange({ name, attributes, children }: Element, _state: Map<string, string>) {
    const operation = OPERATIONS[name]
    if (operation === undefined) throw new Error(`the interpreter does not know ${name}`)
    const { contents = false, method = 'POST', headers = {}, resource } = operation(attributes)
    const mutators = children.find((child) => child.name === 'Mutators')?.children ?? []
    const mutation = mutators.find((each) => each.name === 'AccessToken')
    const token = mutation === undefined ? options.token : (mutation.attributes.Mutation ?? crypto.randomUUID())
    const query = `access_token=${encodeURIComponent(token)}&access_token_ttl=0`
    const url = `${options.wopiSrc}${contents ? '/contents' : ''}?${query}`
    const proofs = proofHeaders(
      token,
      url,
      mutators.find((each) => each.name === 'ProofKey'),
    )
    return options.send({
      method,
      url,
      headers: { Authorization: `Bearer ${token}`, ...headers, ...proofs },
      body: resource === undefined ? Buffer.alloc(0) : fileOf(resource),
    })
  }

  function proofHeaders(token: string, url: string, mutator: Element | undefined): Record<string, string> {
    const { MutateCurrent, MutateOld, KeyRelation, Timestamp } = mutator?.attributes ?? {}
    const ticks = ticksOf(Timestamp === undefined ? new Date() : new Date(Timestamp))
    const invalid = Buffer.from('INVALID').toString('base64')
    const { current, old } = options.keys
    let proof = MutateCurrent === 'true' ? invalid : signProof(current.privateKey, token, url, ticks)
    let proofOld = MutateOld === 'true' ? invalid : signProof(old.privateKey, token, url, ticks)
    if (KeyRelation === 'Ahead') [proof, proofOld] = [invalid, proof]
    if (KeyRelation === 'Behind') [proof, proofOld] = [proofOld, invalid]
    return { 'X-WOPI-TimeStamp': String(ticks), 'X-WOPI-Proof': proof, 'X-WOPI-ProofOld': proofOld }
  }

  function fileOf(id: string): Buffer {
    const content = files.get(id)
    if (content === undefined) throw new Error(`there is no resource ${id}`)
    return content
  }

  const VALIDATORS: Record<
    string,
    (validator: Element, response: ValidatorResponse, state: Map<string, string>) => void
  > = {
    ResponseCodeValidator: ({ attributes }, response) => statusIs(response, Number(attributes.ExpectedCode)),
    ResponseHeaderValidator: ({ attributes }, response, state) => checkHeader(attributes, response, state),
    LockMismatchValidator({ attributes }, response) {
      statusIs(response, 409)
      const lock = response.header('x-wopi-lock')
      if (lock !== (attributes.ExpectedLock ?? '')) throw new Broken(`X-WOPI-Lock is ${lock}`)
    },
    ResponseContentValidator({ attributes }, response) {
      if (!response.body.equals(fileOf(attributes.ExpectedResourceId ?? ''))) throw new Broken('the bytes are others')
    },
    JsonSchemaValidator({ attributes }, response) {
      const problems = problemsOf(jsonOf(response), schemaOf(attributes.Schema ?? ''), '')
      if (problems.length > 0) throw new Broken(problems.join('; '))
    },
    JsonResponseContentValidator({ children }, response, state) {
      const json = jsonOf(response)
      for (const child of children) checkProperty(child, json, state)
    },
    And: ({ children }, response, state) => {
      for (const child of children) validate(child, response, state)
    },
    Or({ children }, response, state) {
      const problems = children.map((child) => brokenBy(() => validate(child, response, state)))
      if (problems.every((problem) => problem !== undefined)) throw new Broken(problems.join(', and '))
    },
  }

  function validate(validator: Element, response: ValidatorResponse, state: Map<string, string>): void {
    const check = VALIDATORS[validator.name]
    if (check === undefined) throw new Error(`the interpreter does not know ${validator.name}`)
    check(validator, response, state)
  }

  async function outcomeOf(work: () => Promise<void>): Promise<string | undefined> {
    try {
      await work()
      return undefined
    } catch (error) {
      if (error instanceof Broken) return error.message
      throw error
    }
  }

  return {
    /** Runs the cases of some groups, in the order of the document. */
    async run(groups: readonly string[]): Promise<Outcome[]> {
      const outcomes: Outcome[] = []
      for (const group of every(root, 'TestGroup')) {
        const named = group.attributes.Name ?? ''
        if (!groups.includes(named)) continue
        for (const testCase of only(group, 'TestCases').children) {
          const name = testCase.attributes.Name ?? ''
          const missing = await outcomeOf(() => runPrerequisites(group))
          const why = missing ?? (await outcomeOf(() => runCase(testCase)))
          outcomes.push({ group: named, name, result: missing ? 'skipped' : why ? 'fail' : 'pass', why: why ?? '' })
        }
      }
      return outcomes
    },
  }

  async function runPrerequisites(group: Element): Promise<void> {
    for (const { text } of group.children.find(({ name }) => name === 'PrereqTests')?.children ?? []) {
      const testCase = prerequisites.get(text)
      if (testCase === undefined) throw new Error(`there is no prerequisite ${text}`)
      await runCase(testCase)
    }
  }
}

interface OperationShape {
  readonly method?: 'GET' | 'POST'
  readonly contents?: boolean
  readonly headers?: Readonly<Record<string, string>>
  /** Whose bytes are sent. */
  readonly resource?: string
}

type Attributes = Readonly<Record<string, string>>

const overriding = (override: string, more: Readonly<Record<string, string | undefined>> = {}) => ({
  headers: { 'X-WOPI-Override': override, ...present(more) },
})

const OPERATIONS: Record<string, (attributes: Attributes) => OperationShape> = {
  CheckFileInfo: () => ({ method: 'GET' }),
  GetFile: ({ Lock }) => ({ method: 'GET', contents: true, headers: present({ 'X-WOPI-Lock': Lock }) }),
  Lock: ({ Lock }) => overriding('LOCK', { 'X-WOPI-Lock': Lock }),
  Unlock: ({ Lock }) => overriding('UNLOCK', { 'X-WOPI-Lock': Lock }),
  RefreshLock: ({ Lock }) => overriding('REFRESH_LOCK', { 'X-WOPI-Lock': Lock }),
  UnlockAndRelock: ({ OldLock, NewLock }) => overriding('LOCK', { 'X-WOPI-Lock': NewLock, 'X-WOPI-OldLock': OldLock }),
  GetLock: () => overriding('GET_LOCK'),
  PutFile: ({ Lock, ResourceId = '' }) => ({
    ...overriding('PUT', { 'X-WOPI-Lock': Lock }),
    contents: true,
    resource: ResourceId,
  }),
  PutRelativeFile({ PutRelativeFileMode, Name = '', ResourceId = '', OverwriteRelative }) {
    const suggested = PutRelativeFileMode !== 'ExactName' && { 'X-WOPI-SuggestedTarget': Name }
    const relative = PutRelativeFileMode !== 'Suggested' && { 'X-WOPI-RelativeTarget': Name }
    const overwrite = present({ 'X-WOPI-OverwriteRelativeTarget': OverwriteRelative })
    return { ...overriding('PUT_RELATIVE', { ...suggested, ...relative, ...overwrite }), resource: ResourceId }
  },
}

function present(values: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

function statusIs({ status }: ValidatorResponse, expected: number): void {
  if (status !== expected) throw new Broken(`the status is ${status}, not ${expected}`)
}

function checkHeader(attributes: Attributes, response: ValidatorResponse, state: ReadonlyMap<string, string>): void {
  const { Header = '', ExpectedValue, ExpectedStateKey, IsRequired = 'true', ShouldMatch = 'true' } = attributes
  const value = response.header(Header)
  if (value === undefined) {
    if (IsRequired === 'true') throw new Broken(`${Header} is missing`)
    return
  }
  const expected = ExpectedStateKey === undefined ? ExpectedValue : state.get(ExpectedStateKey)
  if (expected === undefined) return
  const matches = value.toLowerCase() === expected.toLowerCase()
  if (matches !== (ShouldMatch === 'true')) throw new Broken(`${Header} is ${value}`)
}

/** null and `''` count as missing. */
function checkProperty(
  { name, attributes }: Element,
  json: Record<string, unknown>,
  state: ReadonlyMap<string, string>,
) {
  const { Name = '', IsRequired = 'false' } = attributes
  const value = json[Name]
  if (value === undefined || value === null || value === '') {
    if (IsRequired === 'true') throw new Broken(`${Name} is missing`)
    return
  }
  const check = PROPERTIES[name]
  if (check === undefined) throw new Error(`the interpreter does not know ${name}`)
  const expected =
    attributes.ExpectedStateKey === undefined ? attributes.ExpectedValue : state.get(attributes.ExpectedStateKey)
  if (!check(value, expected, attributes)) throw new Broken(`${Name} is ${JSON.stringify(value)}`)
}

const PROPERTIES: Record<string, (value: unknown, expected: string | undefined, attributes: Attributes) => boolean> = {
  BooleanProperty: (value, expected) =>
    typeof value === 'boolean' && (expected === undefined || String(value) === expected),
  IntegerProperty: (value, expected) =>
    Number.isInteger(value) && (expected === undefined || String(value) === expected),
  LongProperty: (value, expected) => Number.isInteger(value) && (expected === undefined || String(value) === expected),
  StringProperty(value, expected, { EndsWith, IgnoreCase }) {
    const cased = (text: string) => (IgnoreCase === 'true' ? text.toLowerCase() : text)
    if (typeof value !== 'string') return false
    if (EndsWith !== undefined) return cased(value).endsWith(cased(EndsWith))
    return expected === undefined || cased(value) === cased(expected)
  },
  StringRegexProperty: (value, expected = '', { ShouldMatch = 'true' }) =>
    typeof value === 'string' && new RegExp(expected).test(value) === (ShouldMatch === 'true'),
  AbsoluteUrlProperty: (value) => typeof value === 'string' && URL.canParse(value),
}

function savedValue({ Source = '', SourceType }: Attributes, response: ValidatorResponse): string {
  const value = SourceType === 'Header' ? response.header(Source) : jsonOf(response)[Source]
  if (value === undefined) throw new Broken(`${Source} is missing`)
  return String(value)
}

function jsonOf({ body }: ValidatorResponse): Record<string, unknown> {
  try {
    return JSON.parse(body.toString('utf8')) as Record<string, unknown>
  } catch {
    throw new Broken('the answer is not JSON')
  }
}

function brokenBy(check: () => void): string | undefined {
  try {
    check()
    return undefined
  } catch (error) {
    if (error instanceof Broken) return error.message
    throw error
  }
}

interface Schema {
  readonly type?: string | readonly string[]
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  /** What must not fit. */
  readonly not?: Schema
  readonly oneOf?: readonly Schema[]
  readonly enum?: readonly unknown[]
  readonly maxLength?: number
  readonly minimum?: number
}

function readSchema(file: string): Schema {
  return JSON.parse(readFileSync(file, 'utf8').replace(/^\uFEFF/, '')) as Schema
}

/** The little of JSON Schema that the schemas of CheckFileInfo use; formats are not looked at. */
function problemsOf(value: unknown, schema: Schema, at: string): string[] {
  const { type, items } = schema
  if (type !== undefined && ![type].flat().some((each) => isOfType(value, each))) return [`${at} is not ${type}`]
  const own = refusals(value, schema).map((problem) => `${at} ${problem}`)
  if (Array.isArray(value))
    return [...own, ...(items ? value.flatMap((each, index) => problemsOf(each, items, `${at}[${index}]`)) : [])]
  if (typeof value !== 'object' || value === null) return own
  return [...own, ...problemsWithin(value as Record<string, unknown>, schema, at)]
}

function refusals(value: unknown, schema: Schema): string[] {
  const { not, oneOf, maxLength = Number.POSITIVE_INFINITY, minimum = Number.NEGATIVE_INFINITY } = schema
  const fits = (other: Schema) => problemsOf(value, other, '').length === 0
  return [
    not !== undefined && fits(not) && 'must not be there',
    oneOf !== undefined && oneOf.filter(fits).length !== 1 && 'fits not one of several',
    schema.enum !== undefined && !schema.enum.includes(value) && 'is none of those that may be',
    typeof value === 'string' && value.length > maxLength && 'is too long',
    typeof value === 'number' && value < minimum && 'is too small',
  ].filter((problem) => problem !== false)
}

function problemsWithin(
  value: Record<string, unknown>,
  { required = [], properties = {} }: Schema,
  at: string,
): string[] {
  return [
    ...required.filter((name) => !(name in value)).map((name) => `${at}${name} is missing`),
    ...Object.entries(properties).flatMap(([name, schema]) =>
      name in value ? problemsOf(value[name], schema, `${at}${name}`) : [],
    ),
  ]
}

function isOfType(value: unknown, type: string): boolean {
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'array') return Array.isArray(value)
  if (type === 'null') return value === null
  return typeof value === type
}

/** Not real documents: what stands in the XML. */
function contentOf({ Id = '', Name = '', FilePath = '' }: Attributes): Buffer {
  return Buffer.from(Id === 'ZeroByteFile' ? '' : `${Id}${FilePath}${Name}`)
}

function parse(xml: string): Element {
  const parser = new XMLParser({
    preserveOrder: true,
    ignoreAttributes: false,
    attributeNamePrefix: '',
    parseAttributeValue: false,
    parseTagValue: false,
  })
  const roots = (parser.parse(xml) as Record<string, unknown>[]).flatMap(elementOf)
  const root = roots.find(({ name }) => name === 'WopiValidation')
  if (root === undefined) throw new Error('these are no test cases')
  return root
}

/** From the ordered form of the parser; texts and declarations are no elements. */
function elementOf(node: Record<string, unknown>): Element[] {
  const name = Object.keys(node).find((key) => key !== ':@') ?? ''
  const content = node[name]
  if (!Array.isArray(content)) return []
  const inner = content as Record<string, unknown>[]
  const text = inner
    .map((child) => ('#text' in child ? String(child['#text']) : ''))
    .join('')
    .trim()
  const attributes = (node[':@'] ?? {}) as Record<string, string>
  return [{ name, attributes, text, children: inner.flatMap(elementOf) }]
}

function every({ children }: Element, name: string): readonly Element[] {
  return children.filter((child) => child.name === name)
}

function only(parent: Element, name: string): Element {
  const [found] = every(parent, name)
  if (found === undefined) throw new Error(`${parent.name} has no ${name}`)
  return found
}
