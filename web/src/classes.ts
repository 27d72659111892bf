/** Classes in a list: what is said of one in a line, how one is made, the one to try things with. */
import { ref, shallowRef, type Ref, type ShallowRef } from 'vue'

import { api, ask, beside, onceKey, Problem } from './api/client'
import type { BatchClientStatus, BatchDraft } from './api/schema'
import { useUpload } from './upload/upload'

export const STATUSES: readonly BatchClientStatus[] = [
  'pending_content',
  'ready',
  'processing',
  'completed_successfully',
  'completed_with_failures',
  'failed',
  'cancelled',
]

/** Return the status that an address asks for, if there is such a one. */
export function statusOf(asked: unknown): BatchClientStatus | null {
  return STATUSES.find((status) => status === asked) ?? null
}

/** Return the maker of a class: the same draft twice is one class, however often it is sent. */
export function useDraft(): (draft: BatchDraft) => Promise<string> {
  let sent = ''
  let key = onceKey()
  return async (draft) => {
    const said = JSON.stringify(draft)
    if (sent && sent !== said) key = onceKey()
    sent = said
    const header = { 'Idempotency-Key': key }
    return (await ask(api.POST('/v1/batches', { body: draft, params: { header } }))).batch_id
  }
}

export interface Sample {
  readonly busy: Ref<boolean>
  readonly problem: ShallowRef<Problem | null>
  /** How much of it has been sent, 0 to 1. */
  share(): number
  /** Return the class's id, or null if it was not all done; then making it again goes on from there. */
  make(title: string): Promise<string | null>
}

/** The sample class: it lies beside the page, and comes in like any other. */
export function useSample(): Sample {
  const busy = ref(false)
  const problem = shallowRef<Problem | null>(null)
  const upload = useUpload()
  const create = useDraft()

  async function fetched(): Promise<void> {
    if (upload.files.length) return
    const names = (await (await beside('/sample/index.json')).json()) as string[]
    const files = names.map(async (name) => {
      const answer = await beside(`/sample/${encodeURIComponent(name)}`)
      return new File([await answer.blob()], name)
    })
    upload.add(await Promise.all(files))
  }

  async function make(title: string): Promise<string | null> {
    busy.value = true
    problem.value = null
    try {
      await fetched()
      const task = await (await beside('/sample/task')).text()
      const batchId = await create({ title, language: 'en', essay_instructions: task.trim() })
      const done = await upload.send(batchId)
      problem.value = upload.problem.value
      return done && batchId
    } catch (error) {
      problem.value = error as Problem
      return null
    } finally {
      busy.value = false
    }
  }

  function share(): number {
    const { left, all } = upload.bytes.value
    return all ? left / all : 0
  }

  return { busy, problem, share, make }
}
