/** The figures that the phases give each essay: the published table of measures, and what an essay has of it. */
import table from '../../../../docs/reference/measures.json'

import type { EssayView } from '@/api/schema'
import type { Language } from '@/i18n'

export interface Measure {
  /** Its name among those of all phases. */
  key: string
  phase: string
  name: string
  decimals: number
  label: Record<Language, string>
  unit: Record<Language, string>
  /** Counts need no unit behind the figure. */
  counts: boolean
}

type Unit = keyof typeof table.units

export const MEASURES: readonly Measure[] = table.measures.map((row) => ({
  key: `${row.phase}.${row.name}`,
  phase: row.phase,
  name: row.name,
  decimals: row.decimals,
  label: row.label,
  unit: table.units[row.unit as Unit],
  counts: row.unit === 'count',
}))

export const MEASURE: ReadonlyMap<string, Measure> = new Map(
  MEASURES.map((measure) => [measure.key, measure]),
)

/** What a teacher asks for first; the others are there when they are wanted. */
export const CHIEF: ReadonlySet<string> = new Set([
  'spellcheck.word_count',
  'spellcheck.correction_density',
  'nlp.spelling_per_100_words',
  'nlp.grammar_per_100_words',
  'nlp.sentence_length_mean',
  'nlp.mtld',
  'nlp.lix',
  'nlp.flesch_reading_ease',
])

/** Return the essay's figure; undefined if it has none (yet, or not offered). */
export function figure(essay: EssayView, measure: Measure): number | undefined {
  return essay.metrics?.[measure.phase]?.[measure.name]
}

/** Return the measures that any of the essays has a figure of, in the order in which they are shown. */
export function present(essays: readonly EssayView[]): Measure[] {
  return MEASURES.filter((measure) => essays.some((essay) => figure(essay, measure) !== undefined))
}

/** Return the measure's name with its unit, as above a column. */
export function head(measure: Measure, language: Language): string {
  const unit = measure.counts ? '' : ` (${measure.unit[language]})`
  return measure.label[language] + unit
}

const writers = new Map<string, Intl.NumberFormat>() // to make one costs more than a row of the table

/** Return the figure as the reader writes it, with so many decimals. */
export function written(value: number, { decimals }: Pick<Measure, 'decimals'>, language: Language): string {
  const key = `${language} ${decimals}`
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals }
  const writer = writers.get(key) ?? new Intl.NumberFormat(language, digits)
  writers.set(key, writer)
  return writer.format(value)
}
