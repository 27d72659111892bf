/** The one connection of the page to the teacher's feed: it goes on after the cursor that it has, whatever happens. */
import { computed, shallowReactive, shallowRef, type Ref } from 'vue'

import type { ClientFrame, Ping, Reconnect, Resync, ServerFrame, Welcome } from '@/api/schema'

import { cursorOf, later, place, type Place } from './cursor'

export type FeedFrame = Exclude<ServerFrame, Welcome | Ping | Resync | Reconnect>
export type FeedEvent = FeedFrame['event']

export type Connection =
  | { readonly state: 'connecting' | 'live' | 'catching-up' }
  | { readonly state: 'offline'; readonly since: number }
  | { readonly state: 'stopped'; readonly why: 'foreign' | 'crowded' }

/** Whoever shows something that the feed changes. */
export interface Listener {
  hear(frame: FeedFrame): void
  /** What is shown cannot be brought up to date by frames: take it anew. */
  miss(): void
  /** Frames come from here on: what was read before this place has a hole. */
  begin(from: Place): void
  /** It waits for an answer of the server before it can show what is so now. */
  readonly behind: Readonly<Ref<boolean>>
}

/** What is used of a WebSocket. */
export type Socket = Pick<WebSocket, 'close' | 'send' | 'onopen' | 'onmessage' | 'onclose'>

export interface World {
  open(): Socket
  random(): number
  /** The server does not know us any more. */
  forgotten(): void
}

const WELCOME_MS = 10_000
const QUIET_MS = 400
const BEATS = 2.5
const BACK_OFF = { first: 500, most: 30_000 }
const CATCHING_UP: Connection = { state: 'catching-up' }
const BAD_FRAME = 4400
const UNAUTHENTICATED = 4401
const STOPS = new Map<number, 'foreign' | 'crowded'>([
  [4403, 'foreign'],
  [4409, 'crowded'],
])

export class Live {
  private readonly stream = shallowRef<Connection>({ state: 'connecting' })
  private readonly listeners = shallowReactive(new Set<Listener>())
  /** Live is who hears the stream and has read all that it goes on from. */
  readonly connection = computed<Connection>(() => {
    const behind = this.stream.value.state === 'live' && [...this.listeners].some((one) => one.behind.value)
    return behind ? CATCHING_UP : this.stream.value
  })
  private socket: Socket | null = null
  private cursor: string | null = null
  private wanted = false
  private attempts = 0
  private patience = WELCOME_MS
  private heardAt = 0
  /** With a socket: it has been silent for too long. Without: try again. */
  private next?: ReturnType<typeof setTimeout>
  private quiet?: ReturnType<typeof setTimeout>

  constructor(private readonly world: World) {}

  /** Tell this listener what comes; return what ends that. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  start(): void {
    this.wanted = true
    this.attempts = 0
    this.stream.value = { state: 'connecting' }
    this.connect()
  }

  /** End for good: the next start may be another teacher's. */
  stop(): void {
    this.wanted = false
    this.cursor = null
    this.drop()
  }

  /** The browser says that something is different: do not wait if there is no connection, or only a dead one. */
  hurry(): void {
    if (!this.wanted || this.stream.value.state === 'stopped') return
    if (this.socket && Date.now() - this.heardAt < this.patience) return
    this.attempts = 0
    this.connect()
  }

  /** The browser says that the network is gone; it may still be there for a server on this very machine. */
  doubt(): void {
    if (this.socket) this.lose()
  }

  private connect(): void {
    this.drop()
    const socket = this.world.open()
    this.socket = socket
    this.patience = WELCOME_MS
    this.listenFor()
    socket.onopen = () => {
      if (socket === this.socket) this.say({ event: 'hello', cursor: this.cursor })
    }
    socket.onmessage = ({ data }) => {
      if (socket === this.socket) this.take(JSON.parse(String(data)) as ServerFrame)
    }
    socket.onclose = ({ code }) => {
      if (socket === this.socket) this.closed(code)
    }
  }

  private say(frame: ClientFrame): void {
    this.socket?.send(JSON.stringify(frame))
  }

  private drop(): void {
    clearTimeout(this.next)
    clearTimeout(this.quiet)
    const was = this.socket
    this.socket = null
    was?.close()
  }

  private listenFor(): void {
    clearTimeout(this.next)
    this.heardAt = Date.now()
    this.next = setTimeout(() => {
      this.lose()
    }, this.patience)
  }

  private closed(code: number): void {
    const why = STOPS.get(code)
    if (code === UNAUTHENTICATED) {
      this.stop()
      this.world.forgotten()
    } else if (why) {
      this.drop()
      this.stream.value = { state: 'stopped', why }
    } else {
      if (code === BAD_FRAME) this.cursor = null
      this.lose()
    }
  }

  /** There is no connection: come again, later each time, and not all at the same moment. */
  private lose(after = 0): void {
    this.drop()
    if (this.stream.value.state !== 'offline') this.stream.value = { state: 'offline', since: Date.now() }
    const most = Math.min(BACK_OFF.most, BACK_OFF.first * 2 ** this.attempts++)
    this.next = setTimeout(
      () => {
        this.connect()
      },
      after + this.world.random() * most,
    )
  }

  private take(frame: ServerFrame): void {
    this.listenFor()
    switch (frame.event) {
      case 'welcome':
        this.welcomed(frame)
        break
      case 'ping':
        this.say({ event: 'pong' })
        this.compare(frame.cursor)
        break
      case 'resync':
        this.miss()
        break
      case 'reconnect':
        this.lose(frame.after_ms)
        break
      default:
        this.hear(frame)
    }
  }

  private welcomed(frame: Welcome): void {
    const returning = this.stream.value.state !== 'connecting'
    this.attempts = 0
    this.patience = frame.heartbeat_s * 1000 * BEATS
    this.listenFor()
    if (this.cursor === null) for (const listener of this.listeners) listener.begin(place(frame.cursor))
    this.cursor = frame.cursor
    if (returning) this.catchUp()
    else this.stream.value = { state: 'live' }
  }

  /** Nothing is missing up to the server's cursor: what lies between was erased. Behind ours, it is another feed. */
  private compare(cursor: string): void {
    const [ours, theirs] = [place(this.cursor ?? cursor), place(cursor)]
    if (ours.epoch !== theirs.epoch || later(ours, theirs)) this.miss()
    this.cursor = cursor
  }

  private hear(frame: FeedFrame): void {
    const here = place(cursorOf(frame))
    const ours = this.cursor === null ? null : place(this.cursor)
    if (ours && !later(here, ours)) return
    if (ours && here.epoch !== ours.epoch) this.miss()
    this.cursor = cursorOf(frame)
    for (const listener of this.listeners) listener.hear(frame)
    if (this.stream.value.state === 'catching-up') this.settle()
  }

  private miss(): void {
    this.cursor = null
    this.catchUp()
    for (const listener of this.listeners) listener.miss()
  }

  private catchUp(): void {
    this.stream.value = CATCHING_UP
    this.settle()
  }

  /** Caught up is who has heard nothing new for a moment. */
  private settle(): void {
    clearTimeout(this.quiet)
    this.quiet = setTimeout(() => {
      this.stream.value = { state: 'live' }
    }, QUIET_MS)
  }
}
