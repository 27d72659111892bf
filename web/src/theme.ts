/** Light or dark, as the reader chose; `auto` is as the device has it. */
import { readonly, ref } from 'vue'

export const THEMES = ['auto', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

const root = document.documentElement
const chosen = ref<Theme>(THEMES.find((theme) => theme === root.dataset.theme) ?? 'auto')
export const theme = readonly(chosen)

/** Be light or dark from now on, here and at the next visit. */
export function shine(next: Theme): void {
  chosen.value = next
  root.dataset.theme = next
  localStorage.setItem('theme', next)
}
