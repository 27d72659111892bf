/** A class drawn: nothing of it leaves its picture. */
import { mount } from '@vue/test-utils'
import { expect, it } from 'vitest'

import MeasurePlot from '@/components/measures/MeasurePlot.vue'

function drawn(figures: readonly number[]): Element {
  const props = { figures, decimals: 0, median: 'Median', language: 'en', own: figures[0] }
  return mount(MeasurePlot, { props }).element as Element
}

it.each([
  ['a few', [3, 4, 5]],
  ['many equal', Array.from({ length: 30 }, (_, at) => 4 + (at % 2))],
  ['all equal', Array<number>(30).fill(7)],
  ['a thousand different', Array.from({ length: 1000 }, (_, at) => at * 1.5)],
])('%s figures stay within their picture', (_, figures) => {
  const bars = [...drawn(figures).querySelectorAll('rect')]
  expect(bars.length).toBeGreaterThan(0)
  const number = (bar: Element, name: string) => Number(bar.getAttribute(name))
  expect(Math.min(...bars.map((bar) => number(bar, 'x')))).toBeGreaterThanOrEqual(12)
  expect(Math.max(...bars.map((bar) => number(bar, 'x') + number(bar, 'width')))).toBeLessThanOrEqual(308)
})
