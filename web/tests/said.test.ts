/** A suggestion that is mostly space can be seen. */
import { describe, expect, it } from 'vitest'

import type { Correction } from '@/api/schema'
import { because, visible } from '@/components/essay/said'
import { speak } from '@/i18n'

it.each([
  [' and', '␣and'],
  ['a  ', 'a␣␣'],
  ['one two', 'one two'],
  ['a\r\nb\n', 'a↵b↵'],
])('a suggestion %j can be seen as %j', (text, seen) => {
  expect(visible(text)).toBe(seen)
})

describe('the reason of a remark', () => {
  const remark: Correction = {
    offset: 0,
    length: 4,
    original: 'foto',
    replacement: 'photo',
    kind: 'spelling',
    rule: 'spelling:foreign_habit',
    message: 'as the server says it',
    confidence: 1,
    alternatives: [],
  }

  it.each([
    ['sv', 'en', remark, '”foto” stavas som det låter på svenska. På engelska heter det ”photo”.'],
    ['en', 'en', remark, 'as the server says it'],
    ['sv', 'en', { ...remark, rule: 'harper:AnA' }, 'as the server says it'],
  ] as const)(
    'for a reader of %s, of an essay in %s, is in words of theirs if we have them',
    (reader, of, given, said) => {
      speak(reader)
      expect(because(given, of).said).toBe(said)
      speak('en')
    },
  )
})
