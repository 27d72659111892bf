/** The page's connection: what it says, what it makes of what it hears, and how it comes again. */
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'

import type { ServerFrame } from '@/api/schema'
import { Live, type FeedFrame, type Socket } from '@/live/live'

import { batchDeleted } from './frames'

class Wire implements Socket {
  onopen: Socket['onopen'] = null
  onmessage: Socket['onmessage'] = null
  onclose: Socket['onclose'] = null
  readonly said: unknown[] = []
  closed = false

  send(text: string): void {
    this.said.push(JSON.parse(text))
  }
  close(): void {
    this.closed = true
  }
  opens(): void {
    this.onopen?.call(this as never, new Event('open'))
  }
  hears(frame: ServerFrame): void {
    this.onmessage?.call(this as never, new MessageEvent('message', { data: JSON.stringify(frame) }))
  }
  ends(code: number): void {
    this.onclose?.call(this as never, new CloseEvent('close', { code }))
  }
}

const wires: Wire[] = []
const forgotten = vi.fn()
let live: Live
let heard: FeedFrame[]
let missed: number
const behind = ref(false)
let begun: string[]

function wire(): Wire {
  return wires.at(-1) as Wire
}

function welcome(cursor: string): void {
  wire().opens()
  wire().hears({ event: 'welcome', cursor, heartbeat_s: 20 })
}

function state(): string {
  return live.connection.value.state
}

beforeEach(() => {
  vi.useFakeTimers()
  forgotten.mockClear()
  wires.length = 0
  heard = []
  missed = 0
  behind.value = false
  begun = []
  live = new Live({
    open() {
      wires.push(new Wire())
      return wire()
    },
    random: () => 1,
    forgotten,
  })
  live.listen({
    hear: (frame) => heard.push(frame),
    miss() {
      missed++
    },
    begin: ({ epoch, seq }) => begun.push(`${epoch}:${seq}`),
    behind,
  })
  live.start()
})

describe('the connection', () => {
  it('is greeted without a cursor, then tells from where frames come', () => {
    expect(state()).toBe('connecting')
    welcome('1:7')
    expect(wire().said).toEqual([{ event: 'hello', cursor: null }])
    expect([state(), begun]).toEqual(['live', ['1:7']])
  })

  it('is not live before all that it goes on from has been read', () => {
    behind.value = true
    welcome('1:7')
    expect(state()).toBe('catching-up')
    behind.value = false
    expect(state()).toBe('live')
    behind.value = true
    wire().ends(1006)
    expect(state()).toBe('offline')
  })

  it('hands on each frame once, in order', () => {
    welcome('1:7')
    for (const seq of [8, 9, 9, 8, 11]) wire().hears(batchDeleted('b', seq))
    expect(heard.map((frame) => frame.seq)).toEqual([8, 9, 11])
  })

  it('goes on after the last frame it has heard, and catches up before it is live', () => {
    welcome('1:7')
    wire().hears(batchDeleted('b', 8))
    wire().ends(1006)
    expect(live.connection.value).toEqual({ state: 'offline', since: Date.now() })
    vi.advanceTimersByTime(500)
    welcome('1:8')
    expect(wire().said).toEqual([{ event: 'hello', cursor: '1:8' }])
    expect(state()).toBe('catching-up')
    vi.advanceTimersByTime(399)
    wire().hears(batchDeleted('b', 9))
    vi.advanceTimersByTime(399)
    expect(state()).toBe('catching-up')
    vi.advanceTimersByTime(1)
    expect([state(), begun]).toEqual(['live', ['1:7']])
  })

  it('waits longer each time, 30 s at most, and knows since when it is away', () => {
    const since = Date.now()
    const waits: number[] = []
    for (let time = 0; time < 8; time++) {
      wire().ends(1012)
      const tried = wires.length
      const from = Date.now()
      while (wires.length === tried) vi.advanceTimersToNextTimer()
      waits.push(Date.now() - from)
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16000, 30000, 30000])
    expect(live.connection.value).toEqual({ state: 'offline', since })
  })

  it('answers a ping and takes its word that nothing is missing up to there', () => {
    welcome('1:7')
    wire().hears({ event: 'ping', cursor: '1:9' })
    expect(wire().said.at(-1)).toEqual({ event: 'pong' })
    wire().ends(4408)
    vi.advanceTimersByTime(500)
    wire().opens()
    expect(wire().said).toEqual([{ event: 'hello', cursor: '1:9' }])
    expect(missed).toBe(0)
  })

  it.each(['1:6', '2:7'])(
    'takes all anew when the head of the feed, %s, is not of the feed it knows',
    (cursor) => {
      welcome('1:7')
      wire().hears({ event: 'ping', cursor })
      expect([missed, state()]).toEqual([1, 'catching-up'])
    },
  )

  it('takes all anew on a resync, and has no cursor until it is told one', async () => {
    welcome('1:7')
    wire().hears({ event: 'resync', reason: '' })
    expect([missed, state()]).toEqual([1, 'catching-up'])
    wire().ends(1006)
    vi.advanceTimersByTime(500)
    wire().opens()
    expect(wire().said).toEqual([{ event: 'hello', cursor: null }])
    wire().hears({ event: 'welcome', cursor: '2:3', heartbeat_s: 20 })
    expect(begun).toEqual(['1:7', '2:3'])
    await vi.advanceTimersByTimeAsync(400)
    expect(state()).toBe('live')
  })

  it('comes again when the server asks it to, not before', () => {
    welcome('1:7')
    wire().hears({ event: 'reconnect', after_ms: 2000 })
    expect(wire().closed).toBe(true)
    vi.advanceTimersByTime(2499)
    expect(wires).toHaveLength(1)
    vi.advanceTimersByTime(1)
    expect(wires).toHaveLength(2)
  })

  it('does not trust a connection that has been silent for two and a half beats', () => {
    welcome('1:7')
    vi.advanceTimersByTime(49_999)
    expect([wires.length, state()]).toEqual([1, 'live'])
    vi.advanceTimersByTime(1)
    expect([wire().closed, state()]).toEqual([true, 'offline'])
  })

  it('tries at once when the browser says that the network is back, if there is no connection', () => {
    welcome('1:7')
    live.hurry()
    expect(wires).toHaveLength(1)
    live.doubt()
    expect(state()).toBe('offline')
    live.hurry()
    expect(wires).toHaveLength(2)
  })

  it('looks at the clock, not at its timers, when the laptop has slept', () => {
    welcome('1:7')
    vi.setSystemTime(Date.now() + 3_600_000)
    live.hurry()
    expect(wires).toHaveLength(2)
    expect(wires[0]?.closed).toBe(true)
  })

  it('says that the session is over, and is quiet', () => {
    welcome('1:7')
    wire().ends(4401)
    vi.advanceTimersByTime(60_000)
    expect(forgotten).toHaveBeenCalledOnce()
    expect(wires).toHaveLength(1)
  })

  it.each([
    [4403, 'foreign'],
    [4409, 'crowded'],
  ])('stops on close code %i and says why', (code, why) => {
    welcome('1:7')
    wire().ends(code)
    vi.advanceTimersByTime(60_000)
    live.hurry()
    expect(wires).toHaveLength(1)
    expect(live.connection.value).toEqual({ state: 'stopped', why })
  })

  it('does not hear a connection that it has given up', () => {
    welcome('1:7')
    const old = wire()
    live.doubt()
    old.hears(batchDeleted('b', 8))
    old.ends(4401)
    expect(heard).toEqual([])
    expect(forgotten).not.toHaveBeenCalled()
  })

  it('begins without a cursor for the next teacher', () => {
    welcome('1:7')
    live.stop()
    expect(wire().closed).toBe(true)
    live.start()
    wire().opens()
    expect(wire().said).toEqual([{ event: 'hello', cursor: null }])
  })
})
