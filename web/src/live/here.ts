/** This page's connection: there while somebody is signed in, and told what the browser knows of the network. */
import { watch } from 'vue'

import { forget, me } from '@/session'

import { Live } from './live'

export const live = new Live({
  open: () => new WebSocket(`${location.origin.replace(/^http/, 'ws')}/ws`),
  random: Math.random,
  forgotten: forget,
})

watch(
  () => me.value?.email,
  (email) => {
    live.stop()
    if (email) live.start()
  },
  { immediate: true },
)

addEventListener('online', () => {
  live.hurry()
})
addEventListener('offline', () => {
  live.doubt()
})
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) live.hurry()
})
