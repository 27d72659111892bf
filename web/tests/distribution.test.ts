/** Quartiles, places and bins describe the class as the server would. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { bins, placeOf, stretch, summary, ticks, type Summary } from '@/components/measures/distribution'

const figures = fc.array(fc.double({ min: 0, max: 5000, noNaN: true }), { minLength: 1, maxLength: 60 })

describe('the quartiles of a class', () => {
  it.each([
    [[7], [7, 7, 7, 7, 7]],
    [
      [4, 1],
      [1, 1.75, 2.5, 3.25, 4],
    ],
    [
      [5, 3, 1, 4, 2],
      [1, 2, 3, 4, 5],
    ],
    [
      [10, 9, 100],
      [9, 9.5, 10, 55, 100],
    ],
  ])('of %j interpolate between neighbours', (of, [min, q1, median, q3, max]) => {
    expect(summary(of)).toEqual({ count: of.length, min, q1, median, q3, max })
  })

  it('are nothing for no figures', () => {
    expect(summary([])).toBeNull()
    expect(placeOf(1, [])).toBeNull()
    expect(bins([], 10, 0)).toEqual([])
  })
})

describe('the place of an essay', () => {
  it.each([
    [40, 1, false, 'upper'],
    [10, 4, false, 'lower'],
    [20, 2, true, 'middle'],
  ])('with %d among 10, 20, 20, 40', (own, rank, shared, part) => {
    expect(placeOf(own, [20, 10, 40, 20])).toEqual({ rank, shared, of: 4, part })
  })

  it('is in the middle where all are equal', () => {
    expect(placeOf(3, [3, 3, 3])).toEqual({ rank: 1, shared: true, of: 3, part: 'middle' })
  })
})

describe('the drawing', () => {
  it.each([
    [[0, 0, 0], 0, [0, 10]],
    [[0, 0], 1, [0, 1]],
    [[0.4], 1, [0, 1.4]],
    [[70, 70], 0, [60, 80]],
    [[-20], 1, [-21, -19]],
    [[0, 100], 0, [-6, 106]],
  ])('of %j with %i decimals shows %j', (of, decimals, shown) => {
    expect(stretch(summary(of) as Summary, decimals)).toEqual(shown)
  })
})

describe('the axis', () => {
  it.each([
    [[4, 7], 0, [4, 5, 6, 7]],
    [[3.9, 5.1], 0, [4, 5]],
    [[4, 6], 1, [4, 4.5, 5, 5.5, 6]],
    [[-6, 106], 0, [0, 50, 100]],
  ] as const)('of %j with %i decimals says %j', (shown, decimals, said) => {
    expect(ticks(shown, decimals)).toEqual(said)
  })
})

describe('the bins', () => {
  it('hold every figure once, within their borders', () => {
    fc.assert(
      fc.property(figures, fc.integer({ min: 0, max: 2 }), (of, decimals) => {
        const cut = bins(of, 12, decimals)
        expect(cut.reduce((sum, bin) => sum + bin.count, 0)).toBe(of.length)
        expect(cut.length).toBeLessThanOrEqual(13)
        expect(cut[0]?.count).toBeGreaterThan(0)
        expect(cut.at(-1)?.count).toBeGreaterThan(0)
      }),
    )
  })

  it('have round borders, and counts are not cut finer than one', () => {
    expect(bins([1, 2, 2, 3], 20, 0)).toEqual([
      { from: 1, to: 2, count: 1 },
      { from: 2, to: 3, count: 2 },
      { from: 3, to: 4, count: 1 },
    ])
    expect(bins([101, 149, 240], 5, 0).map((bin) => bin.from)).toEqual([100, 150, 200])
  })
})
