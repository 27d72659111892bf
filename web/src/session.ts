/** Who is signed in here, if anybody. */
import { readonly, ref } from 'vue'

import { ask, api, Problem, whenSignedOut } from './api/client'
import { router } from './router'

export interface Teacher {
  email: string
  name: string
}

const teacher = ref<Teacher | null>(null)
let known = false

export const me = readonly(teacher)

/** Return the teacher, asked of the server once; null if nobody is signed in. */
export async function whoAmI(): Promise<Teacher | null> {
  if (known) return teacher.value
  try {
    teacher.value = (await ask(api.GET('/v1/me'))) as unknown as Teacher
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error
  }
  known = true
  return teacher.value
}

/** Forget who was signed in and show the door; `back` is where to go on afterwards. */
export function forget(): void {
  const was = teacher.value
  teacher.value = null
  known = true
  const here = router.currentRoute.value
  if (was && !here.meta.open) void router.push({ name: 'sign-in', query: { back: here.fullPath } })
}

/** Keep what the server said of who has just signed in. */
export function welcome(signedIn: Teacher): void {
  teacher.value = signedIn
  known = true
}

whenSignedOut(forget)

router.beforeEach(async (to) => {
  if (to.meta.open || (await whoAmI())) return true
  return { name: 'sign-in', query: to.fullPath === '/' ? {} : { back: to.fullPath } }
})
