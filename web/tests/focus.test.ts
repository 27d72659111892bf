/** Who answers a question by key stays on the page, also where the button that asked goes away. */
import { mount } from '@vue/test-utils'
import { expect, it, vi } from 'vitest'

import ConfirmDialog from '@/components/ConfirmDialog.vue'
import { i18n } from '@/i18n'

it.each([
  ['Stop it', 'then'],
  ['Cancel', 'asked'],
])('after %j the focus is at what %s', async (answer, place) => {
  document.body.innerHTML = '<button id="asked"></button><div id="then" tabindex="-1"></div>'
  document.getElementById('asked')?.focus()
  const props = { title: 'Stop?', text: 'It stops.', yes: 'Stop it', then: document.getElementById('then') }
  const close = { 'onUpdate:open': (open: boolean) => dialog.setProps({ open }) }
  const dialog = mount(ConfirmDialog, {
    props: { ...props, open: true, ...close },
    global: { plugins: [i18n], stubs: { RouterLink: true } },
    attachTo: document.body,
  })
  await vi.waitFor(() => {
    expect(document.activeElement?.textContent).toBe('Cancel')
  })
  const buttons = [...document.querySelectorAll<HTMLElement>('[role=alertdialog] button')]
  buttons.find((button) => button.textContent === answer)?.click()
  await vi.waitFor(() => {
    expect(document.querySelector('[role=alertdialog]')).toBe(null)
    expect(document.activeElement?.id).toBe(place)
  })
  dialog.unmount()
})
