/** One essay whole, asked for again whenever something about it has changed or may come through again. */
import { computed, shallowRef, watch, type Ref } from 'vue'

import { api, ask, type Problem } from '@/api/client'
import type { EssayDetail, EssayView } from '@/api/schema'
import { live } from '@/live/here'

export function useEssay(batchId: string, essayId: () => string, row: Readonly<Ref<EssayView | undefined>>) {
  const detail = shallowRef<EssayDetail | null>(null)
  const problem = shallowRef<Problem | null>(null)
  let asked = 0
  async function load(): Promise<void> {
    const turn = (asked += 1)
    const path = { batch_id: batchId, essay_id: essayId() }
    try {
      const loaded = await ask(api.GET('/v1/batches/{batch_id}/essays/{essay_id}', { params: { path } }))
      if (turn !== asked) return // a later answer knows more
      detail.value = loaded
      problem.value = null
    } catch (error) {
      if (turn === asked) problem.value = error as Problem
    }
  }
  const known = computed(() => row.value && JSON.stringify([row.value.status, row.value.metrics]))
  watch([essayId, known], ([essay], [shown, before]) => {
    if (essay !== shown) detail.value = problem.value = null
    if (essay !== shown || before !== undefined || problem.value) void load()
  })
  watch(live.connection, ({ state }) => {
    if (state === 'live' && problem.value) void load()
  })
  void load()
  return { detail, problem, reload: load }
}
