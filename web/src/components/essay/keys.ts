/** Single keys of a page, which do nothing while somebody types. */
import { onScopeDispose } from 'vue'

import { keys } from './look'

const TYPING = 'textarea, select, input:not([type="radio"], [type="checkbox"]), [contenteditable="true"]'

/** Do what belongs to a key, as long as the page is open. */
export function onKeys(acts: Readonly<Record<string, () => void>>): void {
  function pressed(event: KeyboardEvent): void {
    const typing = event.target instanceof Element && event.target.closest(TYPING)
    const act = acts[event.key.toLowerCase()]
    if (!keys.value || typing || !act || event.ctrlKey || event.altKey || event.metaKey) return
    event.preventDefault()
    act()
  }
  window.addEventListener('keydown', pressed)
  onScopeDispose(() => {
    window.removeEventListener('keydown', pressed)
  })
}
