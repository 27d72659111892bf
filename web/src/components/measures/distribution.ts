/** How the figures of a class lie: quartiles, one figure's place among them, and bins to draw them by. */

export interface Summary {
  count: number
  min: number
  q1: number
  median: number
  q3: number
  max: number
}

export interface Bin {
  from: number
  to: number
  count: number
}

export type Part = 'lower' | 'middle' | 'upper'

export interface Place {
  /** 1 is the highest; equal figures share a place. */
  rank: number
  shared: boolean
  of: number
  part: Part
}

/** Interpolate linearly between neighbours (Hyndman and Fan 1996, type 7), as the server does within an essay. */
function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)] ?? NaN
  const above = sorted[Math.ceil(at)] ?? NaN
  return below + (above - below) * (at - Math.floor(at))
}

/** Return null if there is nothing to sum up. */
export function summary(figures: readonly number[]): Summary | null {
  if (!figures.length) return null
  const sorted = [...figures].sort((one, other) => one - other)
  const [min, q1, median, q3, max] = [0, 0.25, 0.5, 0.75, 1].map((share) => quantile(sorted, share))
  return { count: sorted.length, min, q1, median, q3, max } as Summary
}

/** Return the stretch that dots take: a bit more than their figures, ten steps more where they are all equal. */
export function stretch({ min, max }: Summary, decimals: number): [number, number] {
  const pad = (max - min) * 0.06 || 10 ** (1 - decimals)
  return [min === max && min >= 0 ? Math.max(0, min - pad) : min - pad, max + pad]
}

/** Say where one of the figures lies among all of them. */
export function placeOf(own: number, figures: readonly number[]): Place | null {
  const all = summary(figures)
  if (!all) return null
  const part = own < all.q1 ? 'lower' : own > all.q3 ? 'upper' : 'middle'
  const equal = figures.filter((value) => value === own).length
  return { rank: figures.filter((value) => value > own).length + 1, shared: equal > 1, of: all.count, part }
}

/** Return a step of 1, 2 or 5 times a power of ten that cuts `width` into at most `most` pieces. */
function step(width: number, most: number, least: number): number {
  const rough = Math.max(width / most, least)
  const power = 10 ** Math.floor(Math.log10(rough))
  return [1, 2, 5, 10].map((times) => times * power).find((wide) => wide >= rough * (1 - 1e-9)) ?? rough
}

/** Return the round figures of an axis, at most six: no finer than the measure counts. */
export function ticks([from, to]: readonly [number, number], decimals: number): number[] {
  const wide = step(to - from, 5, 10 ** -decimals)
  const first = Math.ceil(from / wide - 1e-9)
  const last = Math.floor(to / wide + 1e-9)
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * wide)
}

/** Cut the range of the figures into equal bins with round borders; the upper border belongs to the next bin. */
export function bins(figures: readonly number[], most: number, decimals: number): Bin[] {
  const all = summary(figures)
  if (!all) return []
  const wide = step(all.max - all.min, most - 1, 10 ** -decimals)
  const first = Math.floor(all.min / wide + 1e-9)
  const last = Math.floor(all.max / wide + 1e-9)
  const cut = Array.from({ length: last - first + 1 }, (_, index) => ({
    from: (first + index) * wide,
    to: (first + index + 1) * wide,
    count: 0,
  }))
  for (const value of figures) {
    const bin = cut[Math.floor(value / wide + 1e-9) - first]
    if (bin) bin.count += 1
  }
  return cut
}
