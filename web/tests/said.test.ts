/** A suggestion that is mostly space can be seen. */
import { expect, it } from 'vitest'

import { visible } from '@/components/essay/said'

it.each([
  [' and', '␣and'],
  ['a  ', 'a␣␣'],
  ['one two', 'one two'],
  ['a\r\nb\n', 'a↵b↵'],
])('a suggestion %j can be seen as %j', (text, seen) => {
  expect(visible(text)).toBe(seen)
})
