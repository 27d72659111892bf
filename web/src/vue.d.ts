// For the linter, which reads no .vue files; the type checker does, and does not look here.
declare module '*.vue' {
  import type { Component } from 'vue'
  const component: Component
  export default component
}
