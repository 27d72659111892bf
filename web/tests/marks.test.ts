/** Remarks count code points, the page counts UTF-16: what is marked is what was meant, and no letter is lost. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import type { Correction } from '@/api/schema'
import { edits, passages, place, type Piece } from '@/components/essay/marks'

function remark(text: string, offset: number, length: number, replacement: string | null = null): Correction {
  const original = Array.from(text)
    .slice(offset, offset + length)
    .join('')
  const told = { kind: 'spelling', rule: 'spelling:split', message: 'Why.', confidence: 1 } as const
  return { offset, length, original, replacement, alternatives: [], ...told }
}

function cut(text: string, corrections: Correction[]) {
  return passages(text, place(text, corrections))
}

function joined(pieces: Piece[], without: Piece['change']): string {
  return pieces.map((piece) => (piece.change === without ? '' : piece.text)).join('')
}

const essays = fc.string({ unit: 'binary', maxLength: 60 }).chain((text) =>
  fc.tuple(
    fc.constant(text),
    fc.array(
      fc
        .tuple(fc.nat(70), fc.integer({ min: 1, max: 12 }), fc.option(fc.string({ maxLength: 4 })))
        .map(([offset, length, replacement]) => remark(text, offset, length, replacement)),
      { maxLength: 12 },
    ),
  ),
)

describe('the marks of an essay', () => {
  it.each([
    ['plain letters', 'I seen it', 2, 'seen'],
    ['after an emoji', '🎉 I seen it', 4, 'seen'],
    ['after a family of emoji', '👩‍👩‍👧 seen', 6, 'seen'],
    ['after a combining mark', 'cafe\u0301 seen', 6, 'seen'],
    ['on an emoji', 'so 🎉🎉 fun', 3, '🎉🎉'],
    ['across lines', 'a\r\n\nlot of', 0, 'a\r\n\nlot'],
  ])('lie where they were meant: %s', (_, text, offset, marked) => {
    const pieces = cut(text, [remark(text, offset, Array.from(marked).length)])
    expect(pieces.filter((piece) => piece.remarks.length).map((piece) => piece.text)).toEqual([marked])
  })

  it('and the gaps join to the text, whatever overlaps', () => {
    fc.assert(
      fc.property(essays, ([text, corrections]) => {
        const pieces = cut(text, corrections)
        expect(pieces.map((piece) => piece.text).join('')).toBe(text)
        expect(pieces.every((piece) => piece.text)).toBe(true)
      }),
    )
  })

  it('are all there, once and in order', () => {
    fc.assert(
      fc.property(essays, ([text, corrections]) => {
        const shown = cut(text, corrections).flatMap((piece) => piece.remarks)
        expect(shown.map((one) => one.number)).toEqual(shown.map((_, index) => index + 1))
        for (const one of shown) expect(text.slice(one.from, one.to)).toBe(one.original)
        const within = corrections.filter((one) => one.offset + one.length <= Array.from(text).length)
        expect(shown).toHaveLength(within.length)
      }),
    )
  })

  it.each([
    ['touching', [0, 2], [2, 2], ['ab', 'cd', 'ef']],
    ['nested', [0, 4], [1, 2], ['abcd', 'ef']],
    ['overlapping', [0, 3], [2, 2], ['abcd', 'ef']],
    ['on the same piece', [0, 2], [0, 2], ['ab', 'cdef']],
  ])('may be %s', (_, [a = 0, b = 1], [c = 0, d = 1], pieces) => {
    const cutUp = cut('abcdef', [remark('abcdef', a, b), remark('abcdef', c, d)])
    expect(cutUp.map((piece) => piece.text)).toEqual(pieces)
  })

  it('outside of the text are left out', () => {
    expect(place('abc', [remark('abc', 2, 5), remark('abc', 9, 1)])).toEqual([])
  })
})

describe('the suggestions', () => {
  it.each([
    ['replace', 'I seen it', [remark('I seen it', 2, 4, 'saw')], 'I saw it'],
    ['leave out', 'the the dog', [remark('the the dog', 3, 4, '')], 'the dog'],
    ['put in', 'alot', [remark('alot', 0, 4, 'a lot\n')], 'a lot\n'],
    ['only point something out', 'very very', [remark('very very', 0, 9)], 'very very'],
    ['go by the first of two', 'abcd', [remark('abcd', 0, 3, 'x'), remark('abcd', 2, 2, 'y')], 'xd'],
  ])('%s', (_, text, corrections, corrected) => {
    expect(joined(cut(text, corrections).flatMap(edits), 'out')).toBe(corrected)
  })

  it('never change what is not remarked on', () => {
    fc.assert(
      fc.property(essays, ([text, corrections]) => {
        expect(joined(cut(text, corrections).flatMap(edits), 'in')).toBe(text)
      }),
    )
  })
})
