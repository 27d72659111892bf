/** Upload many files: in portions, each file with an outcome of its own, and again what did not come through. */
import { computed, reactive, ref, shallowRef, type ComputedRef, type Ref } from 'vue'

import { onceKey, Problem, upload } from '@/api/client'
import type { UploadItem } from '@/api/schema'

export const MAX_FILE_BYTES = 10 * 2 ** 20
const PORTION_FILES = 5
const PORTION_BYTES = 20 * 2 ** 20

/** `unsure`: it was sent and nothing came back, so it may be stored or not. */
export type State = 'waiting' | 'sending' | 'stored' | 'refused' | 'unsure'

/** The server's word on a file, or ours where the file never got as far as there. */
export interface Outcome extends Omit<UploadItem, 'code'> {
  code?: UploadItem['code'] | 'NOT_READ'
}

export interface Chosen {
  readonly id: number
  readonly file: File
  state: State
  item: Outcome | null
}

export interface Portion {
  /** The same at every try, so that a portion sent twice is one portion. */
  readonly key: string
  readonly files: readonly Chosen[]
}

export type Send = typeof upload

/** Cut the files into portions that are each sent at once. */
export function portions(files: readonly Chosen[]): Portion[] {
  const cut: Chosen[][] = []
  let bytes = 0
  for (const chosen of files) {
    const last = cut.at(-1)
    bytes += chosen.file.size
    if (last && last.length < PORTION_FILES && bytes <= PORTION_BYTES) last.push(chosen)
    else {
      cut.push([chosen])
      bytes = chosen.file.size
    }
  }
  return cut.map((files) => ({ key: onceKey(), files }))
}

/** Files that have the name and the size of one before them. */
export function twins(files: readonly Chosen[]): Set<Chosen> {
  const seen = new Set<string>()
  return new Set(
    files.filter(({ file }) => {
      const same = `${file.size} ${file.name}`
      return seen.has(same) || !seen.add(same)
    }),
  )
}

/** Say what became of a portion. A text that came through at a former try is no duplicate of another file. */
export function settle(portion: Portion, items: readonly UploadItem[], again: boolean): void {
  for (const [index, chosen] of portion.files.entries()) {
    const item = items[index] ?? null
    const stored = item?.status === 'stored' || (again && item?.code === 'DUPLICATE')
    chosen.item = item
    chosen.state = stored ? 'stored' : 'refused'
  }
}

function refused(chosen: Chosen, code: 'TOO_LARGE' | 'NOT_READ'): void {
  chosen.state = 'refused'
  chosen.item = { file_name: chosen.file.name, status: 'refused', code }
}

async function readable(file: File): Promise<boolean> {
  return file
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => true,
      () => false,
    )
}

export interface Upload {
  readonly files: readonly Chosen[]
  /** Those that are still of interest: what is stored is only counted once its upload is over. */
  readonly listed: ComputedRef<Chosen[]>
  /** Bytes that have left and bytes there are, of the files that are sent. */
  readonly bytes: ComputedRef<{ left: number; all: number }>
  readonly running: Ref<boolean>
  /** Why it stopped before its end; sending again goes on from there. */
  readonly problem: Ref<Problem | null>
  add(files: Iterable<File>): void
  remove(chosen: Chosen): void
  /** Send what has not been sent; return the outcomes of all files once each has one, else null. */
  send(batchId: string): Promise<Outcome[] | null>
}

/** What was last sent to each batch: a refusal is told for as long as its list has it, also when a page is opened anew. */
const lists = new Map<string, Chosen[]>()
let counted = 0

/** One list of files on its way to one batch; a batch that is there already may have refusals from before. */
export function useUpload(to: string | null = null, through: Send = upload): Upload {
  const files = reactive((to && lists.get(to)?.filter(({ state }) => state === 'refused')) || [])
  if (to) lists.set(to, files)
  const running = ref(false)
  const problem = ref<Problem | null>(null)
  const inFlight = ref(0)
  const folded = shallowRef<ReadonlySet<Chosen>>(new Set())
  const listed = computed(() => files.filter((chosen) => !folded.value.has(chosen)))
  let queue: Portion[] = []

  const bytes = computed(() => {
    const sent = files.filter((chosen) => chosen.file.size <= MAX_FILE_BYTES)
    const done = sent.filter((chosen) => chosen.state === 'stored' || chosen.state === 'refused')
    const all = total(sent)
    return { left: Math.min(all, total(done) + inFlight.value), all }
  })

  function add(more: Iterable<File>): void {
    for (const file of more) {
      files.push({ id: counted++, file, state: 'waiting', item: null })
      const chosen = files.at(-1)
      if (chosen && file.size > MAX_FILE_BYTES) refused(chosen, 'TOO_LARGE')
    }
  }

  function remove(chosen: Chosen): void {
    files.splice(files.indexOf(chosen), 1)
  }

  async function one(batchId: string, portion: Portion): Promise<void> {
    const again = portion.files.some((chosen) => chosen.state === 'unsure')
    for (const chosen of portion.files) chosen.state = 'sending'
    try {
      const sent = portion.files.map((chosen) => chosen.file)
      const told = await through(batchId, sent, portion.key, (left) => (inFlight.value = left))
      settle(portion, told.items, again)
    } catch (error) {
      const unsure = !(error instanceof Problem) || error.status === 0 || error.status >= 500
      for (const chosen of portion.files) chosen.state = unsure ? 'unsure' : 'waiting'
      queue = unsure ? [portion] : []
      throw error
    } finally {
      inFlight.value = 0
    }
  }

  async function line(): Promise<Portion[]> {
    const fresh = files.filter((chosen) => chosen.state === 'waiting')
    for (const chosen of fresh) if (!(await readable(chosen.file))) refused(chosen, 'NOT_READ')
    return [...queue, ...portions(fresh.filter((chosen) => chosen.state === 'waiting'))]
  }

  async function send(batchId: string): Promise<Outcome[] | null> {
    if (running.value) return null
    running.value = true
    problem.value = null
    lists.set(batchId, files)
    try {
      queue = await line()
      for (let next = queue[0]; next; next = queue[0]) {
        await one(batchId, next)
        queue = queue.slice(1)
      }
      return files.flatMap((chosen) => chosen.item ?? [])
    } catch (error) {
      problem.value = error as Problem
      return null
    } finally {
      running.value = false
      folded.value = new Set(files.filter(({ state }) => state === 'stored'))
    }
  }

  return { files, listed, bytes, running, problem, add, remove, send }
}

function total(files: readonly Chosen[]): number {
  return files.reduce((sum, chosen) => sum + chosen.file.size, 0)
}
