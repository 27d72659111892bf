/** A view beside the feed: what comes before, while and after its snapshot is read. */
import { beforeEach, describe, expect, it, vi } from 'vitest'

import { Problem } from '@/api/client'
import { Live } from '@/live/live'
import { NOTHING } from '@/live/reducers'
import { Source, type Snapshot } from '@/live/source'

import { batch, batchDeleted, batchUpdated } from './frames'

let answer: (snapshot: Snapshot) => void
let refuse: (problem: Problem) => void
let asked: number
let source: Source

function snapshot(seq: number, ...ids: string[]): Snapshot {
  const batches = new Map(ids.map((id) => [id, batch(id, seq)]))
  return { shown: { ...NOTHING, batches }, cursor: `1:${seq}` }
}

function seen(): Record<string, number> | null {
  const { value } = source.shown
  return value && Object.fromEntries([...value.batches].map(([id, { version }]) => [id, version]))
}

async function answers(given: Snapshot): Promise<void> {
  answer(given)
  await vi.advanceTimersByTimeAsync(0)
}

function paint(): void {
  vi.advanceTimersByTime(20)
}

beforeEach(() => {
  vi.useFakeTimers()
  asked = 0
  const live = new Live({
    open: () => new WebSocket('ws://nowhere'),
    random: () => 1,
    forgotten: () => undefined,
  })
  const load = () => {
    asked++
    return new Promise<Snapshot>((resolve, reject) => {
      answer = resolve
      refuse = reject
    })
  }
  source = new Source(live, load, (frame) => frame.batch_id !== 'other')
})

describe('a view', () => {
  it('skips events that its snapshot has, and applies those that came while it was read', async () => {
    source.hear(batchUpdated('a', 4))
    source.hear(batchUpdated('a', 6))
    source.hear(batchUpdated('b', 7))
    await answers(snapshot(5, 'a'))
    expect(seen()).toEqual({ a: 6, b: 7 })
  })

  it('is behind until its snapshot is joined to where frames began', async () => {
    expect(source.behind.value).toBe(true)
    source.begin({ epoch: 1, seq: 6 })
    await answers(snapshot(5, 'a'))
    expect(source.behind.value).toBe(true)
    refuse(new Problem(503, 'UNAVAILABLE', '', 1))
    await vi.advanceTimersByTimeAsync(999)
    expect([source.behind.value, asked]).toEqual([true, 2])
    await vi.advanceTimersByTimeAsync(1)
    await answers(snapshot(6, 'a'))
    expect(source.behind.value).toBe(false)
    source.miss()
    expect(source.behind.value).toBe(true)
    refuse(new Problem(404, 'NOT_FOUND', ''))
    await vi.advanceTimersByTimeAsync(0)
    expect(source.behind.value).toBe(false)
  })

  it('paints many events as one', async () => {
    await answers(snapshot(5, 'a'))
    const before = source.shown.value
    source.hear(batchUpdated('a', 6))
    source.hear(batchUpdated('a', 7))
    expect(source.shown.value).toBe(before)
    paint()
    expect(seen()).toEqual({ a: 7 })
  })

  it('does not look at what is not its own', async () => {
    await answers(snapshot(5, 'a'))
    source.hear(batchUpdated('other', 6))
    paint()
    expect(seen()).toEqual({ a: 5 })
  })

  it('reads again when its snapshot is older than where frames began', async () => {
    source.begin({ epoch: 1, seq: 6 })
    await answers(snapshot(5, 'a'))
    expect(asked).toBe(2)
    await answers(snapshot(6, 'a'))
    expect([asked, seen()]).toEqual([2, { a: 6 }])
    source.begin({ epoch: 1, seq: 6 })
    expect(asked).toBe(2)
    source.begin({ epoch: 1, seq: 9 })
    expect(asked).toBe(3)
  })

  it('reads again after a resync, and of two answers takes the later asked', async () => {
    const first = answer
    source.miss()
    const second = answer
    first(snapshot(3, 'old'))
    second(snapshot(9, 'a'))
    await vi.advanceTimersByTimeAsync(0)
    expect(seen()).toEqual({ a: 9 })
  })

  it('reads again when an event is of another epoch', async () => {
    await answers(snapshot(5, 'a'))
    source.hear({ ...batchUpdated('a', 2), epoch: '2' })
    paint()
    expect(asked).toBe(2)
  })

  it('asks again after a moment when the server is away, and keeps showing what it has', async () => {
    await answers(snapshot(5, 'a'))
    void source.reload()
    refuse(new Problem(503, 'UNAVAILABLE', '', 7))
    await vi.advanceTimersByTimeAsync(6999)
    expect([asked, seen(), source.problem.value?.code]).toEqual([2, { a: 5 }, 'UNAVAILABLE'])
    await vi.advanceTimersByTimeAsync(1)
    expect(asked).toBe(3)
    await answers(snapshot(6, 'a'))
    expect(source.problem.value).toBe(null)
  })

  it('shows nothing of what is not there, and does not ask for it again', async () => {
    await answers(snapshot(5, 'a'))
    void source.reload()
    refuse(new Problem(404, 'NOT_FOUND', ''))
    await vi.advanceTimersByTimeAsync(60_000)
    expect([asked, seen()]).toEqual([2, null])
  })

  it('shows more, and goes over it with what came meanwhile', async () => {
    await answers(snapshot(5, 'a'))
    let give: (shown: Snapshot['shown']) => void = () => undefined
    void source.extend(() => new Promise((resolve) => (give = resolve)))
    source.hear(batchUpdated('old', 6))
    source.hear(batchDeleted('older', 9))
    const read = snapshot(8, 'old', 'older').shown
    give({ ...read, batches: new Map([...read.batches, ['a', batch('a', 5)]]) })
    await vi.advanceTimersByTimeAsync(0)
    expect(seen()).toEqual({ a: 5, old: 8 })
  })

  it('asks nothing more when nobody shows it any more', async () => {
    source.end()
    refuse(new Problem(503, 'UNAVAILABLE', ''))
    await vi.advanceTimersByTimeAsync(60_000)
    expect(asked).toBe(1)
  })
})
