/** A snapshot of something at the server, loaded when it is first shown and kept live from there. */
import { shallowRef } from 'vue'

import type { Problem } from '@/api/client'

import { cursorOf, later, place, type Place } from './cursor'
import type { FeedFrame, Listener, Live } from './live'
import { reduce, type Shown } from './reducers'

/** What is shown, and up to where in the feed. */
export interface Snapshot {
  readonly shown: Shown
  readonly cursor: string
}

type Wants = (frame: FeedFrame) => boolean
const AGAIN_MS = 3000

/** Do this at the next paint; a page that nobody sees is not painted, and does it once in a while. */
function atPaint(act: () => void): void {
  if (document.hidden) setTimeout(act, 1000)
  else requestAnimationFrame(act)
}

export class Source implements Listener {
  readonly shown = shallowRef<Shown | null>(null)
  readonly problem = shallowRef<Problem | null>(null)
  readonly behind = shallowRef(true)
  private at: Place = { epoch: 0, seq: 0 }
  private from: Place = { epoch: 0, seq: 0 }
  private asked = 0
  private loading = false
  /** Frames that wait for the next paint, or for the answer that they may belong after. */
  private waiting: FeedFrame[] = []
  private painting = false
  private again?: ReturnType<typeof setTimeout>
  private readonly leave: () => void

  constructor(
    live: Live,
    private readonly load: (shown: Shown | null) => Promise<Snapshot>,
    private readonly wants: Wants,
  ) {
    this.leave = live.listen(this)
    void this.reload()
  }

  end(): void {
    this.leave()
    this.asked++
    clearTimeout(this.again)
  }

  /** Ask again. Of several answers under way only the last one asked for counts. */
  reload = async (): Promise<void> => {
    await this.fetch(this.load)
  }

  /** Show more: what `part` reads may be ahead of the rest, whose events are still to come, and go over it once more. */
  async extend(part: (shown: Shown) => Promise<Shown>): Promise<void> {
    if (this.loading || this.shown.value === null) return
    const [shown, cursor] = [this.shown.value, cursorOf(this.at)]
    await this.fetch(async () => ({ shown: await part(shown), cursor }))
  }

  hear(frame: FeedFrame): void {
    if (!this.wants(frame)) return
    this.waiting.push(frame)
    if (this.painting || this.loading) return
    this.painting = true
    atPaint(this.paint)
  }

  miss(): void {
    this.behind.value = true
    void this.reload()
  }

  begin(from: Place): void {
    this.from = from
    if (this.problem.value !== null || (this.shown.value && later(from, this.at))) this.miss()
  }

  private async fetch(load: (shown: Shown | null) => Promise<Snapshot>): Promise<void> {
    const mine = ++this.asked
    this.loading = true
    clearTimeout(this.again)
    try {
      const { shown, cursor } = await load(this.shown.value)
      if (mine !== this.asked) return
      this.at = place(cursor)
      this.shown.value = shown
      this.problem.value = null
      this.behind.value = later(this.from, this.at)
    } catch (error) {
      if (mine !== this.asked) return
      this.failed(error as Problem)
    }
    this.loading = false
    this.paint()
    if (this.behind.value && !this.problem.value) await this.reload()
  }

  private failed(problem: Problem): void {
    this.problem.value = problem
    if (problem.status === 404) this.shown.value = null
    if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) {
      this.behind.value = false // there is nothing to wait for
      return
    }
    this.again = setTimeout(() => void this.reload(), (problem.retryAfter ?? 0) * 1000 || AGAIN_MS)
  }

  /** Apply what has come since the last paint, at once. What comes while an answer is awaited may belong after it. */
  private readonly paint = (): void => {
    this.painting = false
    if (this.loading) return
    const frames = this.waiting.filter((frame) => later(place(cursorOf(frame)), this.at))
    this.waiting = []
    const last = frames.at(-1)
    if (!last || this.shown.value === null) return
    if (Number(last.epoch) !== this.at.epoch) {
      this.miss()
      return
    }
    this.at = place(cursorOf(last))
    this.shown.value = reduce(this.shown.value, frames)
  }
}
