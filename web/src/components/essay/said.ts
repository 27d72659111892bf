/** A remark in words, and why there is none. */
import { useI18n } from 'vue-i18n'

import type { Correction, Language } from '@/api/schema'
import { i18n } from '@/i18n'

/** Return a piece of text on one line with its outer blanks and line breaks to be seen. */
export function visible(text: string): string {
  return text.replace(/\r\n|[\r\n]/g, '↵').replace(/^ +| +$/g, (blanks) => '␣'.repeat(blanks.length))
}

/** Return what says a remark in one sentence: on what, of which kind, what to do. */
export function useSaid(): (remark: Correction) => string {
  const { t } = useI18n()
  function what({ replacement }: Correction): string {
    if (replacement === null) return t('essay.look')
    return replacement ? t('essay.write', { replacement: visible(replacement) }) : t('essay.leave-out')
  }
  return (remark) =>
    t('essay.mark', {
      original: visible(remark.original),
      kind: t(`essay.kind.${remark.kind}`),
      what: what(remark),
    })
}

/** Return why, in the reader's language if that can be had: the server says it in the essay's. */
export function because(remark: Correction, language: Language): { said: string; lang?: Language } {
  const { t, te, locale } = i18n.global
  const key = `why.${remark.rule.replace(':', '.')}`
  if (locale.value === language || !te(key, 'en')) return { said: remark.message, lang: language }
  return { said: t(key, { word: visible(remark.original), right: visible(remark.replacement ?? '') }) }
}

/** Return why an essay could not be checked and what to do, always in the reader's language: by its code. */
export function reason(code: string): string {
  const { t, te } = i18n.global
  const key = `batch.error.${code}`
  return t(te(key, 'en') ? key : 'batch.error.FAILED')
}
