/** The remarks of an essay as they are read: those shown, the current one, and the way from one to the next. */
import { computed, nextTick, shallowRef, watch, type Ref } from 'vue'

import type { CorrectionKind, EssayDetail } from '@/api/schema'

import { KINDS, look } from './look'
import { passages, place, type Remark } from './marks'

export function useRemarks(detail: Readonly<Ref<EssayDetail | null>>) {
  const all = computed(() => {
    const essay = detail.value
    return essay ? place(essay.text, essay.results?.spellcheck?.corrections ?? []) : []
  })
  const shown = computed(() => all.value.filter((remark) => !look.hidden.has(remark.kind)))
  const cut = computed(() => passages(detail.value?.text ?? '', shown.value))
  const counts = computed(() => {
    const of = (kind: CorrectionKind) => all.value.filter((remark) => remark.kind === kind).length
    return Object.fromEntries(KINDS.map((kind) => [kind, of(kind)])) as Record<CorrectionKind, number>
  })
  const current = shallowRef<number | null>(null)
  watch(
    () => detail.value?.essay_id,
    () => {
      current.value = null
    },
  )

  function choose(remark: Remark): void {
    current.value = remark.number
  }

  /** Make the remark the current one and bring its mark before the reader. */
  async function show(remark: Remark): Promise<void> {
    choose(remark)
    await nextTick()
    const passage = cut.value.find((piece) => piece.remarks.includes(remark))
    const mark = document.getElementById(`mark-${passage?.remarks[0]?.number ?? 0}`)
    mark?.focus({ preventScroll: true })
    mark?.scrollIntoView({ block: 'center' })
  }

  /** Go on to the next remark or back to the one before, round the ends. */
  function step(by: 1 | -1): void {
    const count = shown.value.length
    const at = shown.value.findIndex((remark) => remark.number === current.value)
    const to = at < 0 && by < 0 ? count - 1 : (at + by + count) % count
    const remark = shown.value[to]
    if (remark) void show(remark)
  }

  return { all, shown, cut, counts, current, choose, show, step }
}
