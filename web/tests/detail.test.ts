/** One essay, opened where the network is not always there. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, nextTick, shallowRef } from 'vue'

import type { EssayView } from '@/api/schema'

const row: EssayView = { essay_id: 'e', file_name: 'a.txt', status: 'completed', error: null, metrics: {} }
let away: boolean
let asked: number

beforeEach(() => {
  away = true
  asked = 0
  vi.stubGlobal('fetch', () => {
    asked++
    return away ? Promise.reject(new TypeError('away')) : Promise.resolve(Response.json(row))
  })
  vi.resetModules() // the client takes hold of `fetch` when it is made
})

afterEach(() => {
  vi.unstubAllGlobals()
  vi.resetModules()
})

async function opened(known?: EssayView) {
  const { live } = await import('@/live/here')
  const connection = shallowRef<{ state: string; since: number }>({ state: 'offline', since: 0 })
  Object.assign(live, { connection })
  const { useEssay } = await import('@/components/essay/detail')
  const rows = shallowRef(known)
  const essay = effectScope().run(() => useEssay('b', () => 'e', rows))
  if (!essay) throw new Error('no scope')
  await vi.waitFor(() => {
    expect(essay.problem.value?.code).toBe('AWAY')
  })
  away = false
  return { essay, rows, connection }
}

it.each(['list', 'connection', 'teacher'])(
  'comes when the %s says that the server can be asked',
  async (by) => {
    const { essay, rows, connection } = await opened(by === 'list' ? undefined : row)
    if (by === 'list') rows.value = row
    if (by === 'connection') connection.value = { state: 'live', since: 0 }
    if (by === 'teacher') await essay.reload()
    await nextTick()
    await vi.waitFor(() => {
      expect(essay.detail.value).toEqual(row)
    })
    expect([essay.problem.value, asked]).toEqual([null, 2])
  },
)

it('gives way to the next essay at once, and what is answered late is not shown as that', async () => {
  const answers = new Map<string, () => void>()
  vi.stubGlobal('fetch', ({ url }: Request) => {
    const essay_id = url.split('/').pop() ?? ''
    return new Promise((resolve) => {
      answers.set(essay_id, () => {
        resolve(Response.json({ ...row, essay_id }))
      })
    })
  })
  const { useEssay } = await import('@/components/essay/detail')
  const essayId = shallowRef('e')
  const essay = effectScope().run(() => useEssay('b', () => essayId.value, shallowRef(row)))
  await answered('e')
  expect(essay?.detail.value?.essay_id).toBe('e')
  essayId.value = 'f'
  await nextTick()
  expect(essay?.detail.value).toBe(null)
  essayId.value = 'g'
  await nextTick()
  await answered('g')
  await answered('f')
  expect(essay?.detail.value?.essay_id).toBe('g')

  async function answered(essayId: string): Promise<void> {
    await vi.waitFor(() => {
      expect(answers.has(essayId)).toBe(true)
    })
    answers.get(essayId)?.()
    await new Promise((done) => setTimeout(done))
  }
})
