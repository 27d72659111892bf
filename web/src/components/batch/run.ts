/** What a class's state means for what is shown of it and what can be done. */
import type { BatchStatus, EssayView, PhaseName, PipelineStateDetail } from '@/api/schema'

export interface Phase extends PipelineStateDetail {
  readonly name: PhaseName
  /** How much of it is done, 0 to 1. */
  readonly share: number
}

const ENDED = new Set<PipelineStateDetail['status']>([
  'completed_successfully',
  'completed_with_partial_success',
  'failed',
])

function share({ status, essay_counts: counts }: PipelineStateDetail): number {
  if (ENDED.has(status)) return 1
  const left = counts.pending_dispatch_or_processing + (status === 'cancelled' ? counts.cancelled : 0)
  return counts.total ? 1 - left / counts.total : 0
}

/** The phases of the run, in the order in which they run; those that were not asked for are not part of it. */
export function phasesOf(batch: BatchStatus): Phase[] {
  return Object.entries(batch.pipeline_state.phases ?? {})
    .filter(([, detail]) => detail.status !== 'skipped_by_user_config')
    .map(([name, detail]) => ({ ...detail, name: name as PhaseName, share: share(detail) }))
}

/** How much of the run is done, 0 to 1: each phase counts the same, also one that waits and knows no numbers yet. */
export function doneOf(batch: BatchStatus): number {
  const phases = phasesOf(batch)
  return phases.length ? phases.reduce((sum, phase) => sum + phase.share, 0) / phases.length : 0
}

export interface Possible {
  /** Check what is there; `fresh` of them have not been checked yet. */
  readonly start: boolean
  readonly stop: boolean
  readonly retry: boolean
  readonly results: boolean
  /** Essays can be added and removed. */
  readonly change: boolean
  readonly fresh: number
}

const BEFORE = new Set<BatchStatus['status']>(['pending_content', 'ready', 'processing'])

/** What can be done with a class now. */
export function possible(batch: BatchStatus): Possible {
  const running = batch.status === 'processing'
  const ended = !BEFORE.has(batch.status)
  const counts = phasesOf(batch).map((phase) => phase.essay_counts)
  const open = batch.status === 'failed' || counts.some(({ failed, cancelled }) => failed + cancelled > 0)
  const fresh = ended ? batch.unassessed : 0
  return {
    start: batch.status === 'ready' || fresh > 0,
    stop: running,
    retry: ended && open && batch.essays > 0,
    results: counts.some(({ successful }) => successful > 0),
    change: !running,
    fresh,
  }
}

/** Whether an essay that is done has nothing of one of the phases, which was ended before it came to it. */
export function partly(essay: EssayView, batch: BatchStatus): boolean {
  const done = essay.status === 'completed' && batch.status !== 'processing'
  return done && phasesOf(batch).some(({ name }) => !essay.metrics?.[name])
}

const UNKNOWN = 0.3 // of the words: in the wrong language two of three, in the weakest of the sample class one of eight

/** Whether most essays are hardly in the language of the class, so many of their words are unknown. */
export function foreign(essays: readonly EssayView[]): boolean {
  const odd = essays.filter(({ metrics }) => {
    const { spelling_corrections: unknown = 0, word_count: words = 0 } = metrics?.spellcheck ?? {}
    return unknown > UNKNOWN * words
  })
  return odd.length > essays.length / 2
}

export type Milestone = 'started' | 'ended' | 25 | 50 | 75

/** What is worth saying aloud of a change: that it began, that it ended, and each quarter. */
export function milestone(before: BatchStatus | null, now: BatchStatus): Milestone | null {
  if (!before) return null
  const was = before.status === 'processing'
  const is = now.status === 'processing'
  if (was !== is) return is ? 'started' : 'ended'
  if (!is) return null
  const quarter = Math.floor(doneOf(now) * 4)
  const passed = quarter > Math.floor(doneOf(before) * 4) && quarter < 4
  return passed ? ((quarter * 25) as 25 | 50 | 75) : null
}
