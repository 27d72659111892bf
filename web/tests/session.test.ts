/** Where one goes on after the sign-in: never to another site. */
import { expect, it } from 'vitest'

import { onward } from '@/session'

it.each([
  ['/batches/1/results?sort=words', '/batches/1/results?sort=words'],
  ['/', '/'],
  ['//elsewhere.example/', '/'],
  ['/\\elsewhere.example/', '/'],
  ['https://elsewhere.example/', '/'],
  ['javascript:alert(1)', '/'],
  ['', '/'],
  [undefined, '/'],
  [['/account', '/'], '/'],
])('%j leads to %s', (back, there) => {
  expect(onward(back)).toBe(there)
})
