/** Swedish and English: messages by area, one file each and language, in `locales/`. */
import { toDisplayString } from 'vue'
import { createI18n, type MessageContext } from 'vue-i18n'

export type Language = 'en' | 'sv'
export const LANGUAGES: readonly Language[] = ['en', 'sv']

type Read = (said: MessageContext) => string
export interface Messages {
  [key: string]: Read | Messages
}
interface Sentences {
  [key: string]: string | Sentences
}
const files = import.meta.glob<Sentences>('./locales/*/*.json', { eager: true, import: 'default' })

function messages(language: Language): Messages {
  const mine = Object.entries(files).filter(([path]) => path.includes(`/${language}/`))
  return Object.fromEntries(mine.map(([path, area]) => [path.replace(/.*\/|\.json$/g, ''), read(area)]))
}

/** A sentence is a form for each number, with `|` between them, and takes values by name: `{name}`. */
function form(sentence: string): Read {
  const forms = sentence.split(' | ')
  return (said) => {
    const one = forms.length > 1 ? said.plural(forms) : sentence
    return one.replace(/\{(\w+)\}/g, (_, name: string) => toDisplayString(said.named(name)))
  }
}

/** Make sentences what the library asks for where it is not to compile them itself: each a function of its values. */
export function read(sentences: Sentences): Messages {
  const all = Object.entries(sentences)
  return Object.fromEntries(
    all.map(([key, said]) => [key, typeof said === 'string' ? form(said) : read(said)]),
  )
}

function chosen(): Language {
  const said = localStorage.getItem('language') ?? navigator.language
  return said.startsWith('sv') ? 'sv' : 'en'
}

const moment = {
  short: {
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  },
  time: { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
} as const
const number = {
  plain: { maximumFractionDigits: 1 },
  percent: { style: 'percent', maximumFractionDigits: 0 },
} as const

/** Return whose manner dates are in: of the reader's own country, if the browser names one for this language. */
function manner(language: Language, otherwise: string): string {
  return navigator.languages.find((one) => one.startsWith(`${language}-`)) ?? otherwise
}
/** `en` alone would be American: dates have no format in a language as such, so one falls back to a country's. */
const en = manner('en', 'en-GB')
const sv = manner('sv', 'sv-SE')

export const i18n = createI18n({
  legacy: false,
  locale: chosen(),
  fallbackLocale: { en: [en], sv: [sv, 'en'] },
  fallbackWarn: false,
  missingWarn: false, // a test finds the sentences that are missing
  messages: { en: messages('en'), sv: messages('sv') },
  datetimeFormats: { [en]: moment, [sv]: moment },
  numberFormats: { en: number, sv: number },
})

/** Speak this language from now on, here and at the next visit. */
export function speak(language: Language): void {
  i18n.global.locale.value = language
  localStorage.setItem('language', language)
  document.documentElement.lang = language
}
