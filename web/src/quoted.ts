/** What somebody else wrote, such as a name: no character of it is unseen, turns the text around or ends a line. */
export function legible(text: string): string {
  return text.replace(/[\p{Cc}\u061C\u200B\u200E\u200F\u2028-\u202E\u2060-\u2069\uFEFF]/gu, '\uFFFD')
}

/** The same inside a sentence of ours: its direction ends where it ends (Unicode's isolates). */
export function quoted(text: string): string {
  return `\u2068${legible(text)}\u2069`
}
