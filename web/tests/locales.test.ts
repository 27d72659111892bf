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

  it('have every sentence that the page asks for', () => {
    const asked = files(source).flatMap((text) =>
      [...text.matchAll(/\b(?:t|te)\('([\w.-]+)'/g)].map((found) => found[1]),
    )
    expect(asked.filter((key) => key && !english.has(key))).toEqual([])
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

  it('asks for nothing more than values by name and forms by number', () => {
    const all = [...english.values(), ...swedish.values()]
    expect(all.filter((one) => /[@\\]|\{(?!\w+\})|\S\||\|\S/.test(one))).toEqual([])
  })
})
