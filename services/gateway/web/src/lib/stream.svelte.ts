import type { Channel, Channels } from "./types";

export const CHANNELS: Channel[] = [
  "gate", "kill", "cycle", "candidates", "orders", "fills", "positions", "portfolio", "balances", "risk", "health",
  "feed", "quotes", "decisions",
];

const STALE_MS = 2500;
const DEAD_MS = 6000;
const CHECK_MS = 250;
const BACKOFF_MS = 250;
const BACKOFF_CAP_MS = 15_000;
const SIGNED_OUT = 4401;

export interface Hello {
  protocol: number;
  mode: string;
  username: string;
  role: string;
  version: string;
  server_time: string;
}

type Frame =
  | ({ type: "hello" } & Hello)
  | { type: "snapshot"; ch: Channel; seq: number; items: Record<string, unknown> }
  | { type: "delta"; ch: Channel; seq: number; put?: Record<string, unknown>; del?: string[] }
  | { type: "ping"; ts: string };

/** One channel's items; a gap in the numbers of its deltas asks for a new snapshot and keeps what is shown. */
export class Items<T> {
  items = $state.raw<ReadonlyMap<string, T>>(new Map());
  /** A snapshot has arrived. */
  ready = $state(false);
  private seq = 0;
  private waiting = true;

  /** A new connection numbers from its own snapshot. */
  expectSnapshot(): void {
    this.waiting = true;
  }

  snapshot(seq: number, items: Record<string, T>): void {
    this.items = new Map(Object.entries(items));
    this.seq = seq;
    this.waiting = false;
    this.ready = true;
  }

  /** True when the delta shows a gap, so that a snapshot is needed. */
  delta(seq: number, put: Record<string, T>, del: string[]): boolean {
    if (this.waiting || seq <= this.seq) return false;
    if (seq !== this.seq + 1) {
      this.waiting = true;
      return true;
    }
    this.seq = seq;
    const next = new Map(this.items);
    for (const [key, value] of Object.entries(put)) next.set(key, value);
    for (const key of del) next.delete(key);
    this.items = next;
    return false;
  }

  get(key: string): T | undefined {
    return this.items.get(key);
  }

  list(): T[] {
    return [...this.items.values()];
  }
}

export type Connection = "connecting" | "live" | "stale" | "offline" | "signed_out";

export interface Wiring {
  open: () => WebSocket;
  now: () => number;
  random: () => number;
}

const browser: Wiring = {
  open: () => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/ws`),
  now: () => Date.now(),
  random: () => Math.random(),
};

/** The live connection: subscribes, applies snapshots and deltas, knows its own age, reconnects. */
export class Stream {
  connection = $state<Connection>("connecting");
  resyncs = $state(0);
  hello = $state.raw<Hello | null>(null);
  /** The server's clock, milliseconds since the epoch, read a few times a second. */
  now = $state(Date.now());
  onSignedOut: () => void = () => undefined;

  readonly channels = Object.fromEntries(CHANNELS.map((name) => [name, new Items()])) as {
    [C in Channel]: Items<Channels[C]>;
  };

  private socket: WebSocket | null = null;
  private lastMessage: number;
  private offset: number | null = null;
  private attempts = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private check: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly wiring: Wiring = browser) {
    this.lastMessage = wiring.now();
  }

  start(): void {
    this.stop();
    this.connection = "connecting";
    this.lastMessage = this.wiring.now();
    this.check = setInterval(() => this.checkAge(), CHECK_MS);
    this.connect();
  }

  stop(): void {
    clearInterval(this.check);
    clearTimeout(this.retry);
    this.drop();
  }

  /** Try again at once, as when the network comes back or the tab is shown. */
  hurry(): void {
    if (this.socket || this.connection === "signed_out" || !this.check) return;
    clearTimeout(this.retry);
    this.connect();
  }

  private connect(): void {
    for (const items of Object.values(this.channels)) items.expectSnapshot();
    const socket = this.wiring.open();
    this.socket = socket;
    socket.onmessage = (event: MessageEvent<string>) => this.receive(JSON.parse(event.data) as Frame);
    socket.onclose = (event: CloseEvent) => this.closed(event.code);
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private closed(code: number): void {
    this.socket = null;
    if (code === SIGNED_OUT) {
      this.connection = "signed_out";
      this.stop();
      this.onSignedOut();
      return;
    }
    this.connection = "offline";
    const wait = Math.min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** this.attempts) * (0.5 + this.wiring.random() / 2);
    this.attempts += 1;
    this.retry = setTimeout(() => this.connect(), wait);
  }

  private receive(frame: Frame): void {
    this.lastMessage = this.wiring.now();
    if (frame.type === "hello") {
      this.hello = frame;
      this.attempts = 0;
      this.setClock(frame.server_time);
      this.send({ type: "subscribe", channels: CHANNELS });
    } else if (frame.type === "snapshot") {
      this.items(frame.ch)?.snapshot(frame.seq, frame.items);
    } else if (frame.type === "delta") {
      if (this.items(frame.ch)?.delta(frame.seq, frame.put ?? {}, frame.del ?? [])) {
        this.resyncs += 1;
        this.send({ type: "resync", ch: frame.ch });
      }
    } else if (frame.type === "ping") {
      this.setClock(frame.ts);
    }
    if (this.hello) this.connection = "live";
  }

  private items(channel: Channel): Items<unknown> | undefined {
    return this.channels[channel];
  }

  private send(message: unknown): void {
    this.socket?.send(JSON.stringify(message));
  }

  /** The least difference seen is nearest the truth: delays only ever add to it. */
  private setClock(serverTime: string): void {
    const server = Date.parse(serverTime);
    if (Number.isNaN(server)) return;
    const difference = this.wiring.now() - server;
    this.offset = this.offset === null ? difference : Math.min(this.offset, difference);
  }

  private checkAge(): void {
    const age = this.wiring.now() - this.lastMessage;
    this.now = this.wiring.now() - (this.offset ?? 0);
    if (this.connection === "live" && age > STALE_MS) this.connection = "stale";
    if (this.socket && age > DEAD_MS) {
      this.drop();
      this.lastMessage = this.wiring.now();
      this.closed(0);
    }
  }
}
