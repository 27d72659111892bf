/** A size for people: kB up to a megabyte, at least 1, then MB, as file managers of both systems show it. */
export function sizeOf(bytes: number): { amount: number; unit: 'kb' | 'mb' } {
  if (bytes < 999_500) return { amount: bytes && Math.max(1, Math.round(bytes / 1000)), unit: 'kb' }
  return { amount: Math.round(bytes / 100_000) / 10, unit: 'mb' }
}
