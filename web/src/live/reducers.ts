/** What each event of the feed changes of what is shown: a snapshot and the events after it are a fresh snapshot. */
import type { BatchStatus, EssayView } from '@/api/schema'

import { cursorOf, later, place } from './cursor'
import type { FeedEvent, FeedFrame } from './live'

/** What is known: batches by id, and the essays of those batches whose essays are shown. */
export interface Shown {
  readonly batches: ReadonlyMap<string, BatchStatus>
  readonly essays: ReadonlyMap<string, ReadonlyMap<string, EssayView>>
}

export const NOTHING: Shown = { batches: new Map(), essays: new Map() }

/** What is to be shown next. Each map is copied when it is first changed, so many events cost one copy. */
class Draft {
  private batches: Map<string, BatchStatus> | null = null
  private readonly essays = new Map<string, Map<string, EssayView>>()
  private readonly gone = new Set<string>()

  constructor(private readonly shown: Shown) {}

  batch(batchId: string): BatchStatus | undefined {
    return (this.batches ?? this.shown.batches).get(batchId)
  }

  put(status: BatchStatus): void {
    this.changed().set(status.batch_id, status)
  }

  drop(batchId: string): void {
    if (this.batch(batchId)) this.changed().delete(batchId)
    if (this.shown.essays.has(batchId)) this.gone.add(batchId)
  }

  /** The essays of a batch, to be changed; null if they are not shown. */
  essaysOf(batchId: string): Map<string, EssayView> | null {
    const shown = this.shown.essays.get(batchId)
    if (!shown || this.gone.has(batchId)) return null
    const mine = this.essays.get(batchId) ?? new Map(shown)
    this.essays.set(batchId, mine)
    return mine
  }

  done(): Shown {
    if (!this.batches && !this.essays.size && !this.gone.size) return this.shown
    const essays = new Map([...this.shown.essays, ...this.essays])
    for (const batchId of this.gone) essays.delete(batchId)
    return { batches: this.batches ?? this.shown.batches, essays }
  }

  private changed(): Map<string, BatchStatus> {
    this.batches ??= new Map(this.shown.batches)
    return this.batches
  }
}

type Frame<E extends FeedEvent> = Extract<FeedFrame, { event: E }>
type Reducers = { readonly [E in FeedEvent]: (draft: Draft, frame: Frame<E>) => void }

/** A message for people, which changes nothing that is shown. */
function announced(): void {
  return undefined
}

const REDUCERS: Reducers = {
  batch_updated(draft, frame) {
    const known = draft.batch(frame.batch_id)
    // One read by itself, later than the rest, is ahead of the events that the rest still waits for.
    if (known && !later(place(cursorOf(frame)), place(known.live_cursor))) return
    draft.put(frame.data)
  },
  batch_deleted(draft, frame) {
    draft.drop(frame.batch_id)
  },
  essay_updated(draft, frame) {
    draft.essaysOf(frame.batch_id)?.set(frame.data.essay_id, frame.data)
  },
  essay_removed(draft, frame) {
    draft.essaysOf(frame.batch_id)?.delete(frame.data.essay_id)
  },
  batch_pipeline_completed: announced,
  batch_pipeline_rejected: announced,
  essay_refused: announced,
}

function change<E extends FeedEvent>(draft: Draft, frame: Frame<E>): void {
  const reducers: Partial<Reducers> = REDUCERS // a server of a later day may say more
  reducers[frame.event]?.(draft, frame)
}

/** What is shown after these events; the same object if they change nothing. */
export function reduce(shown: Shown, frames: readonly FeedFrame[]): Shown {
  const draft = new Draft(shown)
  for (const frame of frames) change(draft, frame)
  return draft.done()
}
