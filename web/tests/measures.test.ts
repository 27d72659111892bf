/** Every measure of the published table is explained, and written as the reader writes numbers. */
import { describe, expect, it } from 'vitest'
import { effectScope, shallowRef } from 'vue'

import type { EssayView } from '@/api/schema'
import { CHIEF, figure, head, MEASURE, MEASURES, present, written } from '@/components/measures/measures'
import { chosen, fitting, useOrder, useResults } from '@/components/results/table'
import english from '@/locales/en/measures.json'
import swedish from '@/locales/sv/measures.json'

const essay: EssayView = {
  essay_id: '1',
  file_name: 'Åsa Öberg.docx',
  status: 'completed',
  error: null,
  metrics: { spellcheck: { word_count: 1280, correction_density: 5.357 }, nlp: { lix: 0 } },
}
const raw: EssayView = { essay_id: '2', file_name: 'tuva.txt', status: 'accepted', error: null, metrics: {} }

describe('the measures', () => {
  it('are each explained in both languages, and nothing else is', () => {
    const names = [...new Set(MEASURES.map((measure) => measure.name))].sort()
    expect(Object.keys(english.about).sort()).toEqual(names)
    expect(Object.keys(swedish.about).sort()).toEqual(names)
  })

  it('that are shown first are there', () => {
    expect([...CHIEF, ...Object.keys(chosen.visible)].filter((key) => !MEASURE.has(key))).toEqual([])
  })

  it('are told apart from a figure of nought', () => {
    const lix = MEASURES.find((measure) => measure.name === 'lix')
    expect(lix && [figure(essay, lix), figure(raw, lix)]).toEqual([0, undefined])
    expect(present([raw])).toEqual([])
    expect(present([raw, essay]).map((measure) => measure.name)).toEqual([
      'word_count',
      'correction_density',
      'lix',
    ])
  })

  it.each([
    ['word_count', 'en', 'Words', '1,280'],
    ['word_count', 'sv', 'Ord', '1\u00a0280'],
    ['correction_density', 'en', 'All remarks (per 100 words)', '5.4'],
    ['correction_density', 'sv', 'Alla anmärkningar (per 100 ord)', '5,4'],
  ] as const)('%s in %s is headed and written in its way', (name, language, headed, shown) => {
    const measure = MEASURE.get(`spellcheck.${name}`)
    if (!measure) throw new Error(name)
    expect(head(measure, language)).toBe(headed)
    expect(written(figure(essay, measure) ?? NaN, measure, language)).toBe(shown)
  })
})

describe('the filter of the results', () => {
  it.each([
    ['', null, ['1', '2']],
    [' ÖBERG', null, ['1']],
    ['', 'accepted', ['2']],
    ['åsa', 'accepted', []],
  ] as const)('by %j and %s', (find, status, ids) => {
    expect(fitting([essay, raw], find, status).map((one) => one.essay_id)).toEqual(ids)
  })

  it('is of one class, and the sorting is of all', () => {
    const opened = (batchId: string) =>
      effectScope().run(() => useResults(batchId, shallowRef([essay, raw])).getRowModel().rows.length)
    expect(opened('9b')).toBe(2)
    Object.assign(chosen, { find: 'åsa', status: 'completed', sorting: [{ id: 'essay', desc: true }] })
    expect(opened('9b')).toBe(1)
    expect(opened('8a')).toBe(2)
    expect([chosen.find, chosen.status, chosen.sorting.length]).toEqual(['', null, 1])
  })
})

describe('the way from essay to essay', () => {
  it.each([
    ['9b', ['2', '1']],
    ['8a', ['1', '2']],
  ])('with the results of 9b sorted, in %s goes %j', (batchId, ids) => {
    Object.assign(chosen, { batchId: '9b', find: '', status: null, sorting: [{ id: 'essay', desc: false }] })
    const order = effectScope().run(() => useOrder(batchId, shallowRef([{ ...essay, file_name: 'z' }, raw])))
    expect(order?.value.map((one) => one.essay_id)).toEqual(ids)
    expect(chosen.batchId).toBe('9b')
  })
})
