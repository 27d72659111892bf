/** A value that is followed at its own pace, for what costs much to draw. */
import { onScopeDispose, shallowRef, watch, type ShallowRef } from 'vue'

const PACE = 1500

/** Follow a source at once, but no more often than every second and a half. */
export function useSettled<T>(source: () => T): ShallowRef<T> {
  const settled = shallowRef(source()) as ShallowRef<T>
  let resting: ReturnType<typeof setTimeout> | undefined
  function follow(): void {
    if (resting || settled.value === source()) return
    settled.value = source()
    resting = setTimeout(() => {
      resting = undefined
      follow()
    }, PACE)
  }
  watch(source, follow)
  onScopeDispose(() => {
    clearTimeout(resting)
  })
  return settled
}
