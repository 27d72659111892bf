/** Put what somebody else wrote into a sentence of ours: its direction ends where it ends (Unicode's isolates). */
export function quoted(text: string): string {
  return `\u2068${text}\u2069`
}
