/** A place in the teacher's feed, `<epoch>:<seq>`: in another epoch the views were made again, and it says nothing there. */
export interface Place {
  readonly epoch: number
  readonly seq: number
}

export function place(cursor: string): Place {
  const [epoch, seq] = cursor.split(':').map(Number)
  return { epoch: epoch ?? 0, seq: seq ?? 0 }
}

export function cursorOf({ epoch, seq }: { epoch: number | string; seq: number }): string {
  return `${epoch}:${seq}`
}

/** Whether what is at `one` came after what is at `other`. */
export function later(one: Place, other: Place): boolean {
  return one.epoch === other.epoch ? one.seq > other.seq : one.epoch > other.epoch
}
