import { createRouter, createWebHistory } from 'vue-router'

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', name: 'batches', component: () => import('./pages/Batches.vue') },
    {
      path: '/sign-in',
      name: 'sign-in',
      component: () => import('./pages/SignIn.vue'),
      meta: { open: true },
    },
    { path: '/account', name: 'account', component: () => import('./pages/Account.vue') },
    { path: '/batches/new', name: 'new', component: () => import('./pages/NewBatch.vue') },
    { path: '/batches/:batchId', name: 'batch', component: () => import('./pages/Batch.vue'), props: true },
    {
      path: '/batches/:batchId/results',
      name: 'results',
      component: () => import('./pages/Results.vue'),
      props: true,
    },
    {
      path: '/batches/:batchId/essays/:essayId',
      name: 'essay',
      component: () => import('./pages/Essay.vue'),
      props: true,
    },
    {
      path: '/:rest(.*)*',
      name: 'missing',
      component: () => import('./pages/Missing.vue'),
      meta: { open: true },
    },
  ],
  scrollBehavior: (_to, _from, saved) => saved ?? { top: 0 },
})
