/** A file's name is shown as it was given, but cannot turn the line around to look like another. */
import { expect, it } from 'vitest'

import { shownName } from '@/components/names'
import { visible } from '@/components/essay/said'

it.each([
  ['Åsa Öberg 9b (slutversion).docx', 'Åsa Öberg 9b (slutversion).docx'],
  ['مقال.txt', 'مقال.txt'],
  ['👩‍👩‍👧.txt', '👩‍👩‍👧.txt'],
  ['essay\u202excod.exe', 'essay\ufffdxcod.exe'],
  ['a\nb\t\u0000c', 'a\ufffdb\ufffd\ufffdc'],
  ['a\u2066b\u200fc', 'a\ufffdb\ufffdc'],
])('the name %j is shown as %j', (name, shown) => {
  expect(shownName(name)).toBe(shown)
})

it.each([
  [' and', '␣and'],
  ['a  ', 'a␣␣'],
  ['one two', 'one two'],
  ['a\r\nb\n', 'a↵b↵'],
])('a suggestion %j can be seen as %j', (text, seen) => {
  expect(visible(text)).toBe(seen)
})
