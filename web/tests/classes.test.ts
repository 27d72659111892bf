/** Classes in a list. */
import { afterEach, describe, expect, it, vi } from 'vitest'

import { statusOf } from '@/classes'

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
