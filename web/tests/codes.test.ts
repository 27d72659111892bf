/** Every refusal, every problem and every remark of ours that the server may answer with has its sentence. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, it } from 'vitest'

import { reason } from '@/components/essay/said'
import { LANGUAGES, speak } from '@/i18n'
import problems from '@/locales/en/problems.json'
import refusals from '@/locales/en/refusals.json'
import why from '@/locales/en/why.json'

const root = join(import.meta.dirname, '../..')
const described = JSON.parse(readFileSync(join(root, 'docs/reference/openapi.json'), 'utf8')) as {
  components: { schemas: Record<string, { enum?: string[] }> }
}

function sources(...folders: string[]): string {
  return folders
    .flatMap((folder) =>
      readdirSync(join(root, 'src/huleedu', folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.py'))
        .map((name) => readFileSync(join(root, 'src/huleedu', folder, name), 'utf8')),
    )
    .join('\n')
}

/** Codes of problems, as the server's source has them: `code="…"` where one is raised, `code = "…"` of its class. */
function codes(): Set<string> {
  const text = sources('gateway', 'orchestrator', 'files', 'aggregator', 'platform')
  return new Set([...text.matchAll(/\bcode ?= ?"([A-Z_]+)"/g)].flatMap((found) => found[1] ?? []))
}

/** Answers to the operator's commands, which no page asks for. */
const OPERATORS = ['INVALID_ACCOUNT', 'ACCOUNT_EXISTS']

describe('a sentence', () => {
  it.each(['RefusalCode', 'RefusalHint'])('is there for every %s', (name) => {
    const values = described.components.schemas[name]?.enum ?? []
    expect(values.length).toBeGreaterThan(5)
    expect(values.filter((value) => !(value in refusals))).toEqual([])
  })

  it('is there for every problem', () => {
    const found = codes()
    expect(found.size).toBeGreaterThan(20)
    expect([...found].filter((code) => !(code in problems) && !OPERATORS.includes(code))).toEqual([])
  })

  it.each(LANGUAGES)('is there for every reason why an essay failed, in %s', (language) => {
    const failed = [...sources('phases').matchAll(/_failed\(essay, ([^)]*)\)/g)].join()
    const found = [...failed.matchAll(/"([A-Z_]+)"/g)].map(([, code]) => code ?? '')
    expect(new Set(found).size).toBeGreaterThan(3)
    speak(language)
    const unknown = reason('FAILED')
    expect(reason('UNHEARD_OF')).toBe(unknown)
    expect(found.filter((code) => reason(code) === unknown)).toEqual([])
    speak('en')
  })

  it('is there for every remark that is not the grammar checker’s', () => {
    const rules = sources('phases').matchAll(/"(spelling|style):(\w+)": "/g)
    const found = [...rules].map(([, kind, rule]) => [kind, rule])
    expect(found.length).toBeGreaterThan(8)
    expect(found.filter(([kind, rule]) => !Object.hasOwn(why[kind as keyof typeof why], rule ?? ''))).toEqual(
      [],
    )
  })
})
