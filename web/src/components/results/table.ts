/** The table of a class's results: its columns, and how the teacher has sorted, chosen and filtered them. */
import {
  columnVisibilityFeature,
  createSortedRowModel,
  rowSortingFeature,
  tableFeatures,
  useTable,
  type ColumnDef,
  type ColumnVisibilityState,
  type SortFn,
  type SortingState,
  type Updater,
} from '@tanstack/vue-table'
import { computed, reactive, type Ref } from 'vue'

import type { EssayStatus, EssayView } from '@/api/schema'
import { figure, MEASURES } from '@/components/measures/measures'

const FIRST_SHOWN = new Set([
  'spellcheck.word_count',
  'spellcheck.spelling_corrections',
  'spellcheck.grammar_corrections',
  'spellcheck.correction_density',
  'nlp.mtld',
  'nlp.lix',
])
export const STATUSES: readonly EssayStatus[] = ['accepted', 'processing', 'completed', 'failed', 'cancelled']

interface Chosen {
  /** The class that was looked at last: what was sought there is not what is sought in another. */
  batchId: string
  find: string
  status: EssayStatus | null
  sorting: SortingState
  visible: ColumnVisibilityState
}

/** What the teacher has chosen; it is still so when the page is opened again. */
export const chosen = reactive<Chosen>({
  batchId: '',
  find: '',
  status: null,
  sorting: [],
  visible: Object.fromEntries(MEASURES.map((measure) => [measure.key, FIRST_SHOWN.has(measure.key)])),
})

const features = tableFeatures({
  columnVisibilityFeature,
  rowSortingFeature,
  sortedRowModel: createSortedRowModel(),
})
type Sort = SortFn<typeof features, EssayView>

const alphabet = new Intl.Collator(['sv', 'en'], { numeric: true })
const byName: Sort = (one, other) => alphabet.compare(one.original.file_name, other.original.file_name)
const byStatus: Sort = (one, other) =>
  STATUSES.indexOf(one.original.status) - STATUSES.indexOf(other.original.status)
const byFigure: Sort = (one, other, key) => one.getValue<number>(key) - other.getValue<number>(key)

const columns: ColumnDef<typeof features, EssayView>[] = [
  { id: 'essay', accessorKey: 'file_name', sortFn: byName, sortDescFirst: false, enableHiding: false },
  { id: 'status', accessorKey: 'status', sortFn: byStatus, sortDescFirst: false },
  ...MEASURES.map((measure) => ({
    id: measure.key,
    accessorFn: (essay: EssayView) => figure(essay, measure),
    sortFn: byFigure,
    sortDescFirst: true,
    sortUndefined: 'last' as const,
  })),
]

/** Return the essays whose name holds the text and whose status is the one asked for. */
export function fitting(essays: readonly EssayView[], find: string, status: EssayStatus | null): EssayView[] {
  const part = find.trim().toLocaleLowerCase()
  const fits = (essay: EssayView) =>
    (!status || essay.status === status) && essay.file_name.toLocaleLowerCase().includes(part)
  return essays.filter(fits)
}

function next<T>(updater: Updater<T>, old: T): T {
  return typeof updater === 'function' ? (updater as (old: T) => T)(old) : updater
}

export function useResults(batchId: string, essays: Readonly<Ref<readonly EssayView[]>>) {
  if (batchId !== chosen.batchId) Object.assign(chosen, { batchId, find: '', status: null })
  const data = computed(() => fitting(essays.value, chosen.find, chosen.status))
  return useTable({
    features,
    columns,
    data,
    getRowId: (essay: EssayView) => essay.essay_id,
    enableMultiSort: false,
    state: computed(() => ({ sorting: chosen.sorting, columnVisibility: chosen.visible })),
    onSortingChange: (updater: Updater<SortingState>) => {
      chosen.sorting = next(updater, chosen.sorting)
    },
    onColumnVisibilityChange: (updater: Updater<ColumnVisibilityState>) => {
      chosen.visible = next(updater, chosen.visible)
    },
  })
}

/** Return the essays in the order in which the teacher saw them: as the table has them, if it was of this class. */
export function useOrder(batchId: string, essays: Readonly<Ref<readonly EssayView[]>>) {
  if (batchId !== chosen.batchId) return essays
  const table = useResults(batchId, essays)
  return computed(() => table.getRowModel().rows.map((row) => row.original))
}

export type ResultsTable = ReturnType<typeof useResults>
