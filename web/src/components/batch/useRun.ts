/** Start, stop and try again, and what became of it. */
import { computed, onScopeDispose, ref, shallowRef, watch, type Ref } from 'vue'

import { api, ask, onceKey, Problem } from '@/api/client'
import type { Accepted } from '@/api/schema'
import { useFrames, type View } from '@/live/views'
import type { BatchStatus } from '@/api/schema'

const LOOK_MS = 2000

export interface Run {
  /** A start that was asked for and is not seen in the class yet. */
  readonly starting: Readonly<Ref<boolean>>
  readonly stopping: Readonly<Ref<boolean>>
  readonly problem: Readonly<Ref<Problem | null>>
  start(): Promise<void>
  retry(): Promise<void>
  stop(): Promise<void>
}

export function useRun(batchId: string, { value: batch, reload }: View<BatchStatus>): Run {
  const path = { batch_id: batchId }
  const sending = ref(false)
  const awaited = shallowRef<string | null>(null)
  const stopping = ref(false)
  const problem = shallowRef<Problem | null>(null)
  let key = onceKey()
  let look: ReturnType<typeof setInterval> | undefined

  function failed(error: unknown): Problem {
    return (problem.value = error as Problem)
  }

  async function begin(send: (header: { 'Idempotency-Key': string }) => Promise<Accepted>): Promise<void> {
    problem.value = null
    sending.value = true
    try {
      awaited.value = (await send({ 'Idempotency-Key': key })).run_id
      key = onceKey()
    } catch (error) {
      if (failed(error).status) key = onceKey() // without an answer, the next try is the same start
    }
    sending.value = false
  }

  const start = () =>
    begin((header) => {
      const body = { requested_pipeline: 'all' }
      return ask(api.POST('/v1/batches/{batch_id}/pipelines', { params: { path, header }, body }))
    })
  const retry = () =>
    begin((header) => ask(api.POST('/v1/batches/{batch_id}/retry', { params: { path, header } })))

  async function stop(): Promise<void> {
    problem.value = null
    stopping.value = true
    try {
      await ask(api.POST('/v1/batches/{batch_id}/cancel', { params: { path } }))
    } catch (error) {
      failed(error)
      stopping.value = false
    }
  }

  watch(batch, (now) => {
    if (now?.pipeline_state.run_id === awaited.value) awaited.value = null
    if (now?.status !== 'processing') stopping.value = false
  })
  watch([awaited, stopping], ([run, ending]) => {
    clearInterval(look)
    if (run ?? ending) look = setInterval(() => void reload(), LOOK_MS) // should nothing be heard of it
  })
  onScopeDispose(() => {
    clearInterval(look)
  })
  useFrames(batchId, (frame) => {
    if (frame.event !== 'batch_pipeline_rejected') return
    if (frame.data.run_id === awaited.value) awaited.value = null
    failed(new Problem(409, frame.data.code, frame.data.detail))
  })

  return {
    starting: computed(() => sending.value || awaited.value !== null),
    stopping,
    problem,
    start,
    retry,
    stop,
  }
}
