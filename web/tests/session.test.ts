/** The door: where one goes on after it, never to another site, and what an old link leads to. */
import { afterEach, describe, expect, it, vi } from 'vitest'

import { onward } from '@/session'

it.each([
  ['/batches/1/results?sort=words', '/batches/1/results?sort=words'],
  ['/', '/'],
  ['//elsewhere.example/', '/'],
  ['/\\elsewhere.example/', '/'],
  ['https://elsewhere.example/', '/'],
  ['javascript:alert(1)', '/'],
  ['', '/'],
  [undefined, '/'],
  [['/account', '/'], '/'],
])('%j leads to %s', (back, there) => {
  expect(onward(back)).toBe(there)
})

describe('who is signed in', () => {
  const anna = { name: 'Anna', email: 'anna@school.se', has_password: false }
  let server: Record<string, [number, object]>

  async function opened() {
    vi.stubGlobal('fetch', ({ method, url }: Request) => {
      const answer = server[`${method} ${new URL(url).pathname}`]
      if (!answer) return Promise.reject(new TypeError('away'))
      return Promise.resolve(Response.json(answer[1], { status: answer[0] }))
    })
    vi.resetModules() // the client takes hold of `fetch` when it is made
    return { ...(await import('@/session')), router: (await import('@/router')).router }
  }

  afterEach(() => {
    vi.unstubAllGlobals()
    vi.resetModules()
  })

  it.each([
    ['is let in', [200, anna], 'LINK_UNUSABLE', 'anna@school.se'],
    ['is not let in by a link that could not be asked about', [200, anna], 'TOO_MANY_REQUESTS', undefined],
    ['has to be somebody', [401, { code: 'UNAUTHENTICATED' }], 'LINK_UNUSABLE', undefined],
  ] as const)('%s by an old link', async (_, me, code, email) => {
    server = { 'POST /v1/session': [401, { code }], 'GET /v1/me': [...me] }
    const { signIn, me: teacher } = await opened()
    const asked = signIn({ link: 'old' })
    await (email ? asked : expect(asked).rejects.toMatchObject({ code }))
    expect(teacher.value?.email).toBe(email)
  })

  it('is still so when signing out fails, which is told and can be tried again', async () => {
    server = { 'GET /v1/me': [200, anna] }
    const { signOut, whoAmI, stuck, me } = await opened()
    await whoAmI()
    await signOut(false)
    expect([stuck.value?.problem.code, me.value?.name]).toEqual(['AWAY', 'Anna'])
    server['DELETE /v1/session'] = [200, {}]
    await stuck.value?.again()
    expect([stuck.value, me.value]).toEqual([null, null])
  })

  it('is known where nobody has to be, and a server that is away keeps nobody from there', async () => {
    server = {}
    const { me, router } = await opened()
    await router.push('/no/such/page')
    expect([router.currentRoute.value.name, me.value]).toEqual(['missing', null])
    server = { 'GET /v1/me': [200, anna] }
    await router.push('/nor/such/page')
    expect([router.currentRoute.value.name, me.value?.name]).toEqual(['missing', 'Anna'])
  })
})
