/** What can be done with a class, how far it has come, and what of it is said aloud. */
import { describe, expect, it } from 'vitest'

import type { BatchClientStatus, BatchStatus, PipelineExecutionStatus } from '@/api/schema'
import { doneOf, foreign, milestone, partly, phasesOf, possible } from '@/components/batch/run'

import { batch, essay } from './frames'

type Counts = [successful: number, failed: number, cancelled: number, left: number]

function phase(status: PipelineExecutionStatus, [successful, failed, cancelled, left]: Counts) {
  const total = successful + failed + cancelled + left
  const essay_counts = { total, successful, failed, cancelled, pending_dispatch_or_processing: left }
  return { status, essay_counts, progress_percentage: 0 }
}

function given(status: BatchClientStatus, spelling: Counts, nlp: Counts, unassessed = 0): BatchStatus {
  const running = status === 'processing'
  const phases = {
    spellcheck: phase(running ? 'in_progress' : 'completed_with_partial_success', spelling),
    nlp: phase(running ? 'pending_dependencies' : 'completed_with_partial_success', nlp),
  }
  const made = batch('b', 1, status)
  return { ...made, essays: 4, unassessed, pipeline_state: { ...made.pipeline_state, phases } }
}

function offered(state: BatchStatus): string[] {
  return Object.entries(possible(state)).flatMap(([name, on]) => (on === true ? [name] : []))
}

describe('what can be done', () => {
  it.each([
    ['nothing but adding, without essays', batch('b', 1, 'pending_content'), ['change']],
    ['a start, with essays', { ...batch('b', 1, 'ready'), unassessed: 3 }, ['start', 'change']],
    ['a stop, while it runs', given('processing', [1, 1, 0, 2], [0, 0, 0, 0]), ['stop', 'results']],
    [
      'the results, when all is done',
      given('completed_successfully', [4, 0, 0, 0], [4, 0, 0, 0]),
      ['results', 'change'],
    ],
    [
      'a retry, when some failed',
      given('completed_with_failures', [3, 1, 0, 0], [3, 0, 0, 0]),
      ['retry', 'results', 'change'],
    ],
    ['a retry, when it was stopped', given('cancelled', [0, 0, 4, 0], [0, 0, 0, 0]), ['retry', 'change']],
    [
      'a start of the new ones',
      given('completed_successfully', [4, 0, 0, 0], [4, 0, 0, 0], 2),
      ['start', 'results', 'change'],
    ],
  ])('is %s', (_what, state, expected) => {
    expect(offered(state)).toEqual(expected)
  })

  it('is no retry of a class whose essays have all been removed', () => {
    expect(offered({ ...given('failed', [0, 4, 0, 0], [0, 0, 0, 0]), essays: 0 })).toEqual(['change'])
  })

  it('counts as new only what came after a check', () => {
    expect(possible({ ...batch('b', 1, 'ready'), unassessed: 3 }).fresh).toBe(0)
    expect(possible(given('cancelled', [0, 0, 4, 0], [0, 0, 0, 0], 3)).fresh).toBe(3)
  })
})

describe('how far it has come', () => {
  it('does not fall back when the next phase learns how much it has to do', () => {
    const waiting = given('processing', [4, 0, 0, 0], [0, 0, 0, 0])
    const begun = given('processing', [4, 0, 0, 0], [0, 0, 0, 4])
    expect([doneOf(waiting), doneOf(begun)]).toEqual([0.5, 0.5])
  })

  it('is all, when a phase ended without anything to do', () => {
    expect(doneOf(given('failed', [0, 4, 0, 0], [0, 0, 0, 0]))).toBe(1)
  })

  it('is not all, when it was stopped or a phase had to be left out', () => {
    const state = given('cancelled', [1, 0, 3, 0], [0, 0, 0, 0])
    const phases = {
      spellcheck: phase('cancelled', [1, 0, 3, 0]),
      nlp: phase('skipped_due_to_dependency_failure', [0, 0, 0, 0]),
    }
    expect(doneOf({ ...state, pipeline_state: { ...state.pipeline_state, phases } })).toBe(0.125)
  })

  it('leaves out what was not asked for', () => {
    const state = given('processing', [1, 0, 0, 3], [0, 0, 0, 0])
    const phases = { ...state.pipeline_state.phases, nlp: phase('skipped_by_user_config', [0, 0, 0, 0]) }
    const one = { ...state, pipeline_state: { ...state.pipeline_state, phases } }
    expect([phasesOf(one).length, doneOf(one)]).toEqual([1, 0.25])
  })
})

describe('what is said aloud', () => {
  const at = (done: number) => given('processing', [done, 0, 0, 10 - done], [0, 0, 0, 0])
  const ready = batch('b', 1, 'ready')
  const ended = given('completed_successfully', [10, 0, 0, 0], [10, 0, 0, 0])

  it.each([
    ['nothing of what was so when the page opened', null, at(5), null],
    ['that it began', ready, at(0), 'started'],
    ['nothing between the quarters', at(5), at(6), null],
    ['a quarter, once', at(4), at(5), 25],
    ['the last of two quarters', at(4), at(10), 50],
    ['that it ended', at(9), ended, 'ended'],
    ['nothing when it is over', ended, { ...ended, version: 2 }, null],
  ])('is %s', (_what, before, now, said) => {
    expect(milestone(before, now)).toBe(said)
  })
})

describe('the language of a class', () => {
  it.each([
    [[], false],
    [[65, 70, 5], true],
    [[65, 5], false],
    [[12, 11, 10], false],
    [[65, null, null], false],
  ])('with %j unknown words in a hundred may be wrong: %s', (unknown, wrong) => {
    const essays = unknown.map((count) => ({
      ...essay('e'),
      ...(count !== null && { metrics: { spellcheck: { word_count: 100, spelling_corrections: count } } }),
    }))
    expect(foreign(essays)).toBe(wrong)
  })
})

describe('an essay that is done', () => {
  const metrics = { spellcheck: { word_count: 100 } }
  it.each([
    ['cancelled', metrics, true],
    ['processing', metrics, false],
    ['cancelled', { ...metrics, nlp: { lix: 40 } }, false],
  ] as const)('in a class that is %s with %j lacks a phase: %s', (status, has, lacks) => {
    const state = given(status, [4, 0, 0, 0], [0, 0, 4, 0])
    expect(partly({ ...essay('e', 'completed'), metrics: has }, state)).toBe(lacks)
    expect(partly({ ...essay('e', 'failed'), metrics: has }, state)).toBe(false)
  })
})
