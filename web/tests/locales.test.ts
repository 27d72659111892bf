/** Every sentence there is exists in every language, and takes the same values. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, expect, it } from 'vitest'

import { i18n, read } from '@/i18n'

const source = join(import.meta.dirname, '../src')
const folder = join(source, 'locales')

function sentences(language: string): Map<string, string> {
  const found = new Map<string, string>()
  function walk(value: unknown, key: string): void {
    if (typeof value === 'string') found.set(key, value)
    else for (const [name, inner] of Object.entries(value as object)) walk(inner, `${key}.${name}`)
  }
  for (const file of readdirSync(join(folder, language)))
    walk(JSON.parse(readFileSync(join(folder, language, file), 'utf8')), file.replace('.json', ''))
  return found
}

function values(sentence: string): string[] {
  return [...new Set(sentence.match(/\{\w+\}/g))].sort()
}

function files(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(vue|ts)$/.test(name))
    .map((name) => readFileSync(join(directory, name), 'utf8'))
}

const english = sentences('en')
const swedish = sentences('sv')

describe('the languages', () => {
  it('have the same sentences', () => {
    expect([...swedish.keys()].sort()).toEqual([...english.keys()].sort())
  })

  it('put the same values into them', () => {
    for (const [key, sentence] of english)
      expect([key, ...values(swedish.get(key) ?? '')]).toEqual([key, ...values(sentence)])
  })

  it('say nothing twice of classes, so that it cannot be said in two ways', () => {
    const named = [...english.keys()].filter((key) => /^(batch|batches|shell)\./.test(key))
    const mine = named.filter((key) => !/tatus\./.test(key)) // those are the server's words
    const said = mine.map((key) => `${english.get(key) ?? ''} – ${swedish.get(key) ?? ''}`)
    expect(said.filter((one, at) => said.indexOf(one) !== at)).toEqual([])
  })

  it('have every sentence that the page asks for', () => {
    const asked = files(source).flatMap((text) =>
      [...text.matchAll(/\b(?:t|te)\('([\w.-]+)'/g)].map((found) => found[1]),
    )
    expect(asked.filter((key) => key && !english.has(key))).toEqual([])
    const groups = files(source).flatMap((text) =>
      [...text.matchAll(/\bte?\(`([\w.-]+\.)\$/g)].map((found) => found[1] ?? ''),
    )
    expect(groups.length).toBeGreaterThan(10)
    expect(groups.filter((group) => ![...english.keys()].some((key) => key.startsWith(group)))).toEqual([])
  })
})

describe('a sentence', () => {
  const { t, mergeLocaleMessage } = i18n.global
  const numbered = 'No file | 1 file | {count} files'
  const tried = { plain: 'As {who} says', numbered, two: '{count} file | {count} files' }
  mergeLocaleMessage('en', read({ tried }))

  it.each([
    ['plain', { who: '{who} | $& @:plain' }, 1, 'As {who} | $& @:plain says'],
    ['plain', {}, 1, 'As  says'],
    ['numbered', {}, 0, 'No file'],
    ['numbered', {}, 1, '1 file'],
    ['numbered', {}, 5, '5 files'],
    ['two', {}, 1, '1 file'],
    ['two', {}, 0, '0 files'],
    ['two', { count: '5,000' }, 5000, '5,000 files'],
  ])('%s with %j is read for the number %i', (key, given, number, read) => {
    expect(t(`tried.${key}`, given, number)).toBe(read)
  })

  it.each([
    ['batch.count.successful', 1, '1 klar'],
    ['batch.count.successful', 2, '2 klara'],
    ['batch.count.cancelled', 1, '1 stoppad'],
    ['batch.count.failed', 1, '1 misslyckades'],
    ['essay.no-remark', 1, '1 anmärkning'],
    ['essay.no-remark', 0, '0 anmärkningar'],
  ])('%s of %i is %s', (key, count, said) => {
    expect(t(key, { count }, { plural: count, locale: 'sv' })).toBe(said)
  })

  it('asks for nothing more than values by name and forms by number', () => {
    const all = [...english.values(), ...swedish.values()]
    expect(all.filter((one) => /[@\\]|\{(?!\w+\})|\S\||\|\S/.test(one))).toEqual([])
  })
})
