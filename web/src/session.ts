/** Who is signed in here, if anybody. */
import { readonly, ref, shallowRef } from 'vue'

import { ask, api, Problem, whenSignedOut } from './api/client'
import type { ByLink, ByPassword, Me } from './api/schema'
import { router } from './router'

const teacher = ref<Me | null>(null)
let known = false

export const me = readonly(teacher)

/** The secret of the sign-in link that was opened, taken out of the address before anything is shown. */
export const link = ref('')

/** Return the teacher, asked of the server once; null if nobody is signed in. */
export async function whoAmI(): Promise<Me | null> {
  if (known) return teacher.value
  try {
    teacher.value = await ask(api.GET('/v1/me'))
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error
  }
  known = true
  return teacher.value
}

/** Sign in, or raise why not. A link that has been used shows nobody the door who is signed in here already. */
export async function signIn(shown: ByLink | ByPassword): Promise<void> {
  try {
    welcome(await ask(api.POST('/v1/session', { body: shown })))
  } catch (error) {
    const used = error instanceof Problem && error.code === 'LINK_UNUSABLE'
    if (used) known = false // refused is the link, not the session that there may be
    if (!used || !(await someone())) throw error
  }
}

/** Something that did not come about, whatever page is open, and how to try it again. */
export interface Trouble {
  readonly problem: Problem
  again(): unknown
}

/** Why one is still signed in, though one wanted out. */
export const stuck = shallowRef<Trouble | null>(null)

/** Sign out here, or in every browser there is. */
export async function signOut(everywhere: boolean): Promise<void> {
  stuck.value = null
  try {
    await (everywhere ? api.DELETE('/v1/sessions') : api.DELETE('/v1/session'))
  } catch (error) {
    if (teacher.value) stuck.value = { problem: error as Problem, again: () => signOut(everywhere) }
    return
  }
  teacher.value = null
  await router.push({ name: 'sign-in' })
}

/** Forget who was signed in and show the door; `back` is where to go on afterwards. */
export function forget(): void {
  const was = teacher.value
  teacher.value = null
  known = true
  const here = router.currentRoute.value
  if (was && !here.meta.open) void router.push({ name: 'sign-in', query: { back: here.fullPath } })
}

/** Keep what the server said of who is signed in. */
export function welcome(signedIn: Me): void {
  teacher.value = signedIn
  known = true
}

/** Where to go on after the sign-in: an address of this page, whatever was asked for. */
export function onward(back: unknown): string {
  return typeof back === 'string' && /^\/(?![/\\])/.test(back) ? back : '/'
}

whenSignedOut(forget)

router.beforeEach(async (to) => {
  if (to.name === 'sign-in' && to.hash) {
    link.value = to.hash.slice(1)
    history.replaceState(history.state, '', location.pathname + location.search)
    return { ...to, hash: '', replace: true }
  }
  if (to.meta.open) {
    const signedIn = !link.value && (await someone())
    return signedIn && to.name === 'sign-in' ? onward(to.query.back) : true
  }
  if (await whoAmI()) return true
  return { name: 'sign-in', query: to.fullPath === '/' ? {} : { back: to.fullPath } }
})

/** Whether somebody is signed in; if that cannot be asked now, the door is shown. */
async function someone(): Promise<boolean> {
  return whoAmI().then(Boolean, () => false)
}
