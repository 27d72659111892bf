/** The law of the feed: a snapshot and the events after it are a fresh snapshot. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import type { FeedFrame } from '@/live/live'
import { NOTHING, reduce, type Shown } from '@/live/reducers'

import { batchDeleted, batchUpdated, essay, essayRemoved, essayUpdated, rejected } from './frames'

const batches = ['a', 'b', 'c']
const id = fc.constantFrom(...batches)
const essayId = fc.constantFrom('1', '2', '3')
const what = fc.oneof(
  fc.tuple(fc.constant('batch' as const), id, fc.constantFrom('ready' as const, 'processing' as const)),
  fc.tuple(
    fc.constant('essay' as const),
    id,
    essayId,
    fc.constantFrom('accepted' as const, 'failed' as const),
  ),
  fc.tuple(fc.constant('removed' as const), id, essayId),
  fc.tuple(fc.constant('deleted' as const), id),
  fc.tuple(fc.constant('rejected' as const), id),
)

/** A feed in which things happen to batches that are there, as a server would tell it. */
const feed = fc.array(what, { maxLength: 40 }).map((told) => {
  const frames: FeedFrame[] = []
  const deleted = new Set<string>()
  for (const one of told) {
    const seq = frames.length + 1
    const [event, batchId, third, status] = one
    if (deleted.has(batchId)) continue
    if (event === 'deleted') deleted.add(batchId)
    const made = {
      batch: () => batchUpdated(batchId, seq, third as 'ready'),
      essay: () => essayUpdated(batchId, seq, essay(third ?? '', status)),
      removed: () => essayRemoved(batchId, seq, third ?? ''),
      deleted: () => batchDeleted(batchId, seq),
      rejected: () => rejected(batchId, seq),
    }
    frames.push(made[event]())
  }
  return frames
})
const someFeed = feed.chain((frames) => fc.tuple(fc.constant(frames), fc.nat(frames.length)))

const empty: Shown = { ...NOTHING, essays: new Map(batches.map((one) => [one, new Map()])) }

/** What the server would answer after these events, made without any reducer. */
function fresh(frames: readonly FeedFrame[]): unknown {
  const shown: Record<string, { status?: unknown; essays: Record<string, unknown> }> = {}
  for (const one of batches) shown[one] = { essays: {} }
  for (const frame of frames) {
    const mine = shown[frame.batch_id]
    if (frame.event === 'batch_deleted') Reflect.deleteProperty(shown, frame.batch_id)
    else if (!mine) continue
    else if (frame.event === 'batch_updated') mine.status = frame.data
    else if (frame.event === 'essay_updated') mine.essays[frame.data.essay_id] = frame.data
    else if (frame.event === 'essay_removed') Reflect.deleteProperty(mine.essays, frame.data.essay_id)
  }
  return shown
}

function plain({ batches: statuses, essays }: Shown): unknown {
  const shown: Record<string, unknown> = {}
  for (const [one, mine] of essays) {
    const status = statuses.get(one)
    shown[one] = { ...(status && { status }), essays: Object.fromEntries(mine) }
  }
  return shown
}

describe('reduce', () => {
  it('makes of a snapshot and the events after it what a fresh snapshot would be', () => {
    fc.assert(
      fc.property(someFeed, ([frames, cut]) => {
        const snapshot = reduce(empty, frames.slice(0, cut))
        expect(plain(reduce(snapshot, frames.slice(cut)))).toEqual(fresh(frames))
      }),
    )
  })

  it('shows the same whether events come one by one or many at once', () => {
    fc.assert(
      fc.property(feed, (frames) => {
        const one = frames.reduce((shown, frame) => reduce(shown, [frame]), empty)
        expect(plain(one)).toEqual(plain(reduce(empty, frames)))
      }),
    )
  })

  it('is not confused by an event that is heard again at once', () => {
    fc.assert(
      fc.property(feed, (frames) => {
        const doubled = frames.flatMap((frame) => [frame, frame])
        expect(plain(reduce(empty, doubled))).toEqual(plain(reduce(empty, frames)))
      }),
    )
  })

  it('changes nothing that it was given', () => {
    fc.assert(
      fc.property(someFeed, ([frames, cut]) => {
        const before = reduce(empty, frames.slice(0, cut))
        const said = JSON.stringify(plain(before))
        reduce(before, frames.slice(cut))
        expect(JSON.stringify(plain(before))).toBe(said)
      }),
    )
  })

  it('keeps what has not changed the very same, so that nothing is drawn again', () => {
    const two = [essayUpdated('a', 1, essay('1')), essayUpdated('a', 2, essay('2'))]
    const before = reduce(empty, two)
    const after = reduce(before, [essayUpdated('a', 3, essay('2', 'failed'))])
    expect(after.essays.get('a')?.get('1')).toBe(before.essays.get('a')?.get('1'))
    expect(after.essays.get('b')).toBe(before.essays.get('b'))
    expect(reduce(after, [rejected('a', 4)])).toBe(after)
  })

  it('does not go back for a batch that was read later than the rest', () => {
    const ahead = reduce(empty, [batchUpdated('a', 9, 'processing')])
    expect(reduce(ahead, [batchUpdated('a', 8)])).toBe(ahead)
  })

  it('lets pass what a server of a later day says', () => {
    const strange = { ...rejected('a', 1), event: 'essay_praised' } as unknown as FeedFrame
    expect(reduce(empty, [strange])).toBe(empty)
  })
})
