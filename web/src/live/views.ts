/** What the pages show: snapshots of the server's views, kept live. Each composable loads when its page opens. */
import { computed, onScopeDispose, shallowRef, type Ref, type ShallowRef } from 'vue'

import { api, ask, type Problem } from '@/api/client'
import type { BatchClientStatus, BatchStatus, EssayView } from '@/api/schema'

export interface View<T> {
  /** What is known; null until the first answer. */
  readonly value: Readonly<Ref<T | null>>
  /** Why there is nothing to show, if so. */
  readonly problem: Readonly<Ref<Problem | null>>
  /** Ask again. */
  reload(): Promise<void>
}

function view<T>(load: () => Promise<T>): View<T> {
  const value: ShallowRef<T | null> = shallowRef(null)
  const problem = shallowRef<Problem | null>(null)
  let gone = false
  async function reload(): Promise<void> {
    try {
      const loaded = await load()
      if (!gone) value.value = loaded
      problem.value = null
    } catch (error) {
      problem.value = error as Problem
    }
  }
  onScopeDispose(() => (gone = true))
  void reload()
  return { value: computed(() => value.value), problem: computed(() => problem.value), reload }
}

/** The teacher's batches, newest first. */
export function useBatches(status: () => BatchClientStatus | null): View<BatchStatus[]> {
  return view(async () => {
    const query = { status: status(), limit: 200 }
    return (await ask(api.GET('/v1/batches', { params: { query } }))).items
  })
}

/** One batch. */
export function useBatch(batchId: string): View<BatchStatus> {
  return view(() =>
    ask(api.GET('/v1/batches/{batch_id}/status', { params: { path: { batch_id: batchId } } })),
  )
}

/** The essays of a batch, in the order in which they came. */
export function useEssays(batchId: string): View<EssayView[]> {
  return view(async () => {
    const path = { batch_id: batchId }
    return (await ask(api.GET('/v1/batches/{batch_id}/essays', { params: { path } }))).items
  })
}
