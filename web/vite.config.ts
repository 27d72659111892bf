import { cpSync, readdirSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'

import vue from '@vitejs/plugin-vue'
import { defineConfig, type Plugin } from 'vitest/config'

const here = import.meta.dirname
const server = process.env.HULEEDU ?? 'http://127.0.0.1:4001'
const essays = resolve(here, '../examples/class-9b')

/** The sample class is a folder of files beside the page: it is uploaded like any other. */
function sampleClass(): Plugin {
  return {
    name: 'sample-class',
    closeBundle() {
      const folder = resolve(here, '../src/huleedu/gateway/page/sample')
      cpSync(essays, folder, { recursive: true })
      cpSync(resolve(here, '../examples/class-9b.task.txt'), resolve(folder, 'task'))
      writeFileSync(resolve(folder, 'index.json'), JSON.stringify(readdirSync(essays).sort()))
    },
  }
}

export default defineConfig({
  plugins: [vue(), sampleClass()],
  resolve: { alias: { '@': resolve(here, 'src') } },
  define: {
    __VUE_OPTIONS_API__: false,
    __VUE_PROD_DEVTOOLS__: false,
    __VUE_I18N_LEGACY_API__: false,
    __VUE_I18N_FULL_INSTALL__: false,
    __INTLIFY_DROP_MESSAGE_COMPILER__: true, // src/i18n.ts reads the little that our sentences need
    __INTLIFY_PROD_DEVTOOLS__: false,
  },
  build: {
    outDir: '../src/huleedu/gateway/page',
    emptyOutDir: true,
    assetsInlineLimit: 0, // a data: address is no file of ours, and the content policy says so
    modulePreload: { polyfill: false },
    target: 'es2022',
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            // Few files: what many small ones repeat, each compresses anew.
            { name: 'vue', test: /node_modules.(@?vue|@intlify|reka-ui|@floating|@lucide)/ },
            { name: 'shared', test: /web.src/, minShareCount: 2 },
          ],
        },
      },
    },
    license: { fileName: 'licenses.md' },
  },
  server: {
    port: 5173,
    proxy: {
      '^/(v1|ws|docs|openapi.json|sample)': { target: server, ws: true, headers: { origin: server } },
    },
  },
  test: { environment: 'happy-dom', include: ['tests/**/*.test.ts'], restoreMocks: true },
})
