/** What somebody else wrote, such as a name: no character of it is unseen, turns the text around or ends a line. */
export function shown(text: string): string {
  return text.replace(/[\p{Cc}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu, '\uFFFD')
}

/** The same inside a sentence of ours: its direction ends where it ends (Unicode's isolates). */
export function quoted(text: string): string {
  return `\u2068${shown(text)}\u2069`
}
