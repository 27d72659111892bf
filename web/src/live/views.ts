/** What the pages show: snapshots of the server's views, kept live. What is shown twice is held once. */
import { computed, onScopeDispose, shallowRef, watch, type Ref } from 'vue'

import { api, ask, Problem } from '@/api/client'
import type { BatchClientStatus, BatchStatus, EssayView } from '@/api/schema'
import { me } from '@/session'

import { live } from './here'
import type { FeedFrame, Listener } from './live'
import { NOTHING, type Shown } from './reducers'
import { Source, type Snapshot } from './source'

export interface View<T> {
  /** What is known; null until the first answer. */
  readonly value: Readonly<Ref<T | null>>
  /** Why there is nothing to show, if so: 404 if it is not there, 410 if it went while it was shown. */
  readonly problem: Readonly<Ref<Problem | null>>
  /** Ask again. */
  reload(): Promise<void>
}

export interface List<T> extends View<T[]> {
  /** Whether there are older ones, which `more` loads. */
  readonly hasMore: Readonly<Ref<boolean>>
  more(): Promise<void>
}

const held = new Map<string, { source: Source; users: number; ending?: ReturnType<typeof setTimeout> }>()
const LINGER_MS = 5000 // the last user goes before the first of the next page comes

/** This teacher's source of this name, made if nothing uses it yet, ended a while after its last user. */
function shared(what: string, make: () => Source): Source {
  const name = `${me.value?.email ?? ''} ${what}`
  const mine = held.get(name) ?? { source: make(), users: 0 }
  held.set(name, mine)
  mine.users++
  clearTimeout(mine.ending)
  onScopeDispose(() => {
    if (--mine.users) return
    mine.ending = setTimeout(() => {
      held.delete(name)
      mine.source.end()
    }, LINGER_MS)
  })
  return mine.source
}

function view<T>(source: Source, pick: (shown: Shown) => T | undefined): View<T> {
  const value = computed(() => (source.shown.value && pick(source.shown.value)) ?? null)
  const gone = new Problem(410, 'NOT_FOUND', '')
  const problem = computed(() => {
    if (value.value !== null) return null
    return source.shown.value ? gone : source.problem.value
  })
  return { value, problem, reload: source.reload }
}

/** The teacher's batches, newest first (their ids grow with time), of this status or of all. */
export function useBatches(status: () => BatchClientStatus | null): List<BatchStatus> {
  const oldest = shallowRef<string | null>(null)
  let pages = 1

  async function page(shown: Shown, cursor: string | null): Promise<Snapshot> {
    const query = { status: status(), cursor, limit: 100 }
    const { items, next_cursor, live_cursor } = await ask(api.GET('/v1/batches', { params: { query } }))
    if (query.status === status()) oldest.value = next_cursor ?? null
    const batches = new Map([...shown.batches, ...items.map((batch) => [batch.batch_id, batch] as const)])
    return { shown: { ...NOTHING, batches }, cursor: live_cursor }
  }
  async function load(): Promise<Snapshot> {
    const { shown, cursor } = await page(NOTHING, null)
    let all = shown
    for (let more = 1; more < pages && oldest.value; more++) all = (await page(all, oldest.value)).shown
    return { shown: all, cursor }
  }

  const source = new Source(live, load, (frame) => frame.event.startsWith('batch_'))
  onScopeDispose(() => {
    source.end()
  })
  watch(status, () => {
    pages = 1
    void source.reload()
  })
  const listed = view(source, ({ batches }) =>
    [...batches.values()]
      .filter(
        (batch) => batch.batch_id >= (oldest.value ?? '') && batch.status === (status() ?? batch.status),
      )
      .sort((one, other) => (one.batch_id < other.batch_id ? 1 : -1)),
  )
  async function more(): Promise<void> {
    const { value } = oldest
    if (!value) return
    pages++
    await source.extend(async (before) => (await page(before, value)).shown)
  }
  return { ...listed, hasMore: computed(() => oldest.value !== null), more }
}

/** One batch. */
export function useBatch(batchId: string): View<BatchStatus> {
  const path = { batch_id: batchId }
  const source = shared(`batch ${batchId}`, () => {
    async function load() {
      const status = await ask(api.GET('/v1/batches/{batch_id}/status', { params: { path } }))
      return { shown: { ...NOTHING, batches: new Map([[batchId, status]]) }, cursor: status.live_cursor }
    }
    return new Source(live, load, (frame) => frame.batch_id === batchId)
  })
  return view(source, (shown) => shown.batches.get(batchId))
}

/** The essays of a batch, in the order in which they came (their ids grow with time). */
export function useEssays(batchId: string): View<EssayView[]> {
  const path = { batch_id: batchId }
  const source = shared(`essays ${batchId}`, () => {
    async function load() {
      const { items, live_cursor } = await ask(api.GET('/v1/batches/{batch_id}/essays', { params: { path } }))
      const essays = new Map(items.map((essay) => [essay.essay_id, essay]))
      return { shown: { ...NOTHING, essays: new Map([[batchId, essays]]) }, cursor: live_cursor }
    }
    return new Source(live, load, (frame) => frame.batch_id === batchId && frame.event !== 'batch_updated')
  })
  return view(source, (shown) => {
    const essays = shown.essays.get(batchId)
    return essays && [...essays.values()].sort((one, other) => (one.essay_id < other.essay_id ? -1 : 1))
  })
}

/** Hear what is said of a batch, as it is said. */
export function useFrames(batchId: string, hear: (frame: FeedFrame) => void): void {
  const listener: Listener = {
    hear(frame) {
      if (frame.batch_id === batchId) hear(frame)
    },
    begin: () => undefined,
    miss: () => undefined,
    behind: shallowRef(false),
  }
  onScopeDispose(live.listen(listener))
}
