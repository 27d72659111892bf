/** What two pages show, one after the other. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope } from 'vue'

import { batch } from './frames'

let asked: number

beforeEach(() => {
  vi.useFakeTimers()
  asked = 0
  vi.stubGlobal('WebSocket', function () {
    return { close: () => undefined }
  })
  vi.stubGlobal('fetch', () => {
    asked++
    return Promise.resolve(Response.json({ ...batch('b', 1), live_cursor: '1:1' }))
  })
  vi.resetModules() // the client takes hold of `fetch` when it is made
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  vi.resetModules()
})

it.each([
  ['at once', 'anna', 0, 1],
  ['after a while', 'anna', 10_000, 2],
  ['by another teacher', 'bo', 0, 2],
])('a class that is opened again %s', async (_, name, later, times) => {
  const { useBatch } = await import('@/live/views')
  const { welcome } = await import('@/session')
  const page = () => {
    const scope = effectScope()
    return { scope, shown: scope.run(() => useBatch('b'))?.value }
  }
  const arrive = (who: string) => {
    welcome({ name: who, email: `${who}@school.se`, has_password: false })
  }
  arrive('anna')
  const first = page()
  await vi.advanceTimersByTimeAsync(0)
  expect(first.shown?.value?.batch_id).toBe('b')
  first.scope.stop()
  await vi.advanceTimersByTimeAsync(later)
  arrive(name)
  const second = page()
  expect(second.shown?.value?.batch_id).toBe(times === 1 ? 'b' : undefined)
  await vi.advanceTimersByTimeAsync(0)
  expect([second.shown?.value?.batch_id, asked]).toEqual(['b', times])
})
