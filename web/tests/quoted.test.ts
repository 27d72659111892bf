/** What somebody else wrote is shown so that it cannot pass for another thing. */
import { expect, it } from 'vitest'

import { legible, quoted } from '@/quoted'

it.each([
  ['an override that makes .exe look like .png', 'x\u202Egnp.exe', 'x\uFFFDgnp.exe'],
  ['a line break', 'one\ntwo\r', 'one\uFFFDtwo\uFFFD'],
  ['an isolate that is not closed', '\u2067x', '\uFFFDx'],
  ['a mark of direction', 'a\u200F.b', 'a\uFFFD.b'],
  ['a family, whose joiners stay', '👩‍👩‍👧.txt', '👩‍👩‍👧.txt'],
  ['a space of no width', 'a\u200Bb', 'a\uFFFDb'],
  ['letters of any script', 'Åsa مريم 😀.docx', 'Åsa مريم 😀.docx'],
])('%s', (_what, given, expected) => {
  expect(legible(given)).toBe(expected)
})

it('closes in a sentence what it opened', () => {
  expect(quoted('x\u2069\u202Ey')).toBe('\u2068x\uFFFD\uFFFDy\u2069')
})
