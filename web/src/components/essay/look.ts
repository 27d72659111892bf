/** How the teacher reads essays: stays the same from one essay to the next. */
import { reactive, ref, watch } from 'vue'

import type { CorrectionKind } from '@/api/schema'

export const KINDS: readonly CorrectionKind[] = ['spelling', 'grammar', 'style']
export const VIEWS = ['original', 'merged', 'corrected'] as const
export type TextView = (typeof VIEWS)[number]

export const look = reactive<{ view: TextView; hidden: Set<CorrectionKind> }>({
  view: 'original',
  hidden: new Set(),
})

/** Single keys can be in the way of other programs that read keys, so they can be put off, for good. */
export const keys = ref(localStorage.getItem('keys') !== 'off')
watch(keys, (on) => {
  localStorage.setItem('keys', on ? 'on' : 'off')
})
