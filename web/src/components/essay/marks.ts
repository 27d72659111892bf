/** An essay's text cut where its remarks are. What the server counts in code points is turned into places here only. */
import type { Correction } from '@/api/schema'

/** One remark with its place in the page's own (UTF-16) text, and its number among all of the essay's remarks. */
export interface Remark extends Correction {
  number: number
  from: number
  to: number
}

/** A piece of the text: between remarks (none), or remarked on; remarks that overlap share one piece. */
export interface Passage {
  from: number
  text: string
  remarks: Remark[]
}

export interface Piece {
  text: string
  change: 'none' | 'out' | 'in'
}

/** Return the place in `text` of each code point, and of its end. */
function places(text: string): number[] {
  const found: number[] = []
  let at = 0
  for (const point of text) {
    found.push(at)
    at += point.length
  }
  return [...found, at]
}

/** Place the corrections in the text, in its order; one that lies outside of it is left out. */
export function place(text: string, corrections: readonly Correction[]): Remark[] {
  const at = places(text)
  return corrections
    .flatMap((correction) => {
      const from = at[correction.offset]
      const to = at[correction.offset + correction.length]
      return from === undefined || to === undefined ? [] : [{ ...correction, from, to }]
    })
    .sort((one, other) => one.from - other.from || other.to - one.to)
    .map((placed, index) => ({ ...placed, number: index + 1 }))
}

/** Cut the text so that the pieces, joined, are the text. `remarks` come in the order of the text. */
export function passages(text: string, remarks: readonly Remark[]): Passage[] {
  const cut: Passage[] = []
  let at = 0
  for (const remark of remarks) {
    const last = cut.at(-1)
    if (last && remark.from < at) {
      at = Math.max(at, remark.to)
      last.text = text.slice(last.from, at)
      last.remarks.push(remark)
      continue
    }
    if (remark.from > at) cut.push({ from: at, text: text.slice(at, remark.from), remarks: [] })
    at = remark.to
    cut.push({ from: remark.from, text: text.slice(remark.from, at), remarks: [remark] })
  }
  if (at < text.length) cut.push({ from: at, text: text.slice(at), remarks: [] })
  return cut
}

/** Return what each suggestion takes out and puts in; of two that overlap the first is followed. */
export function edits(passage: Passage): Piece[] {
  const pieces: Piece[] = []
  let at = passage.from
  const original = (to: number) => passage.text.slice(at - passage.from, to - passage.from)
  for (const remark of passage.remarks) {
    if (remark.replacement === null || remark.from < at) continue
    pieces.push({ text: original(remark.from), change: 'none' })
    at = remark.from
    pieces.push({ text: original(remark.to), change: 'out' }, { text: remark.replacement, change: 'in' })
    at = remark.to
  }
  pieces.push({ text: original(passage.from + passage.text.length), change: 'none' })
  return pieces.filter((piece) => piece.text)
}
