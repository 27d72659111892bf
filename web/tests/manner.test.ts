/** Dates are written as the reader writes them. */
import { afterEach, expect, it, vi } from 'vitest'

const AT = new Date(2026, 10, 5, 15, 4)

afterEach(() => {
  vi.unstubAllGlobals()
  vi.resetModules()
})

it.each([
  ['en', ['en-GB', 'en'], '5 Nov 2026, 15:04', '15:04'],
  ['en', ['sv-SE', 'en'], '5 Nov 2026, 15:04', '15:04'],
  ['en', ['en', 'en-US'], 'Nov 5, 2026, 15:04', '15:04'],
  ['sv', ['en-US'], '5 nov. 2026 15:04', '15:04'],
  ['sv', ['sv-FI', 'en-GB'], '5 nov. 2026 15.04', '15.04'],
] as const)('in %s for a reader of %j: %s', async (language, languages, short, time) => {
  vi.stubGlobal('navigator', { language: languages[0], languages })
  vi.resetModules() // what the browser says is read once
  const { i18n, speak } = await import('@/i18n')
  speak(language)
  const complaint = vi.spyOn(console, 'warn')
  expect([i18n.global.d(AT, 'short'), i18n.global.d(AT, 'time')]).toEqual([short, time])
  expect(i18n.global.t('shell.again')).toBe({ en: 'Try again', sv: 'Försök igen' }[language])
  expect(complaint).not.toHaveBeenCalled()
})
