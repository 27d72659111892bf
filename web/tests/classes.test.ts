/** Classes in a list. */
import { afterEach, describe, expect, it, vi } from 'vitest'

import type { BatchStatus } from '@/api/schema'
import { doneOf, joined, statusOf } from '@/classes'

function batch(batch_id: string, phases: Record<string, [number, number]> = {}): BatchStatus {
  const states = Object.entries(phases).map(([name, [total, open]]) => [
    name,
    { essay_counts: { total, pending_dispatch_or_processing: open } },
  ])
  return { batch_id, pipeline_state: { phases: Object.fromEntries(states) as object } } as BatchStatus
}

describe('what is done of a run', () => {
  it.each([
    ['before it has essays', batch('a'), 0],
    ['in its first phase', batch('a', { spellcheck: [4, 2], nlp: [4, 4] }), 0.25],
    ['at its end', batch('a', { spellcheck: [4, 0], nlp: [4, 0] }), 1],
  ])('%s', (_when, one, done) => {
    expect(doneOf(one)).toBe(done)
  })
})

it('puts older classes under newer ones, each once', () => {
  const newer = [batch('c'), batch('b')]
  expect(joined(newer, [batch('b'), batch('a')]).map((one) => one.batch_id)).toEqual(['c', 'b', 'a'])
})

it('knows a status from anything else that an address may hold', () => {
  expect([statusOf('ready'), statusOf('unheard'), statusOf(undefined), statusOf(['ready'])]).toEqual([
    'ready',
    null,
    null,
    null,
  ])
})

describe('a class', () => {
  afterEach(() => {
    vi.unstubAllGlobals()
    vi.resetModules()
  })

  it('is sent under the same key until its draft is another', async () => {
    const keys: (string | null)[] = []
    vi.stubGlobal('fetch', (request: Request) => {
      keys.push(request.headers.get('Idempotency-Key'))
      return Promise.resolve(Response.json({ batch_id: 'a' }, { status: 201 }))
    })
    vi.resetModules() // the client takes hold of `fetch` when it is made
    const { useDraft } = await import('@/classes')
    const create = useDraft()
    const draft = { title: 'one', essay_instructions: '', language: 'en' } as const
    await create(draft)
    await create(draft)
    await create({ ...draft, title: 'two' })
    expect(keys[0]).toBe(keys[1])
    expect(keys[2]).not.toBe(keys[0])
  })
})
