import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CHANNELS, Stream } from "./stream.svelte";

class FakeSocket {
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  sent: Record<string, unknown>[] = [];
  shut = false;
  send(text: string) {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }
  close() {
    this.shut = true;
  }
  say(frame: unknown) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  hello() {
    this.say({ type: "hello", protocol: 1, mode: "SIM", username: "sam", role: "trader", version: "1", server_time: new Date().toISOString() });
  }
}

let sockets: FakeSocket[];
let stream: Stream;
const last = () => sockets[sockets.length - 1]!;
const keys = () => [...stream.channels.quotes.items.keys()];
const quote = (symbol: string) => ({ symbol, bid: 1, ask: 2, last: null, previous_close: null, at: null });

beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
  const open = () => {
    sockets.push(new FakeSocket());
    return last() as unknown as WebSocket;
  };
  stream = new Stream({ open, now: () => Date.now(), random: () => 1 });
  stream.start();
});

afterEach(() => {
  stream.stop();
  vi.useRealTimers();
});

describe("a live stream", () => {
  beforeEach(() => {
    last().hello();
    last().say({ type: "snapshot", ch: "quotes", seq: 7, items: { SPY: quote("SPY"), QQQ: quote("QQQ") } });
  });

  it("subscribes to every channel after hello", () => {
    expect(last().sent).toEqual([{ type: "subscribe", channels: CHANNELS }]);
    expect(stream.connection).toBe("live");
    expect(stream.channels.quotes.ready).toBe(true);
    expect(stream.channels.orders.ready).toBe(false);
  });

  it("puts and deletes by delta", () => {
    last().say({ type: "delta", ch: "quotes", seq: 8, put: { IWM: quote("IWM") }, del: ["QQQ"] });
    expect(keys()).toEqual(["SPY", "IWM"]);
  });

  it("ignores what it has already applied", () => {
    last().say({ type: "delta", ch: "quotes", seq: 7, put: {}, del: ["SPY"] });
    expect(keys()).toEqual(["SPY", "QQQ"]);
    expect(stream.resyncs).toBe(0);
  });

  it("asks once for a snapshot after a gap, keeps what it shows, and goes on from the snapshot", () => {
    last().say({ type: "delta", ch: "quotes", seq: 9, put: {}, del: ["SPY"] });
    last().say({ type: "delta", ch: "quotes", seq: 10, put: {}, del: ["SPY"] });
    expect(keys()).toEqual(["SPY", "QQQ"]);
    expect(last().sent.slice(1)).toEqual([{ type: "resync", ch: "quotes" }]);
    expect(stream.resyncs).toBe(1);
    last().say({ type: "snapshot", ch: "quotes", seq: 10, items: { QQQ: quote("QQQ") } });
    last().say({ type: "delta", ch: "quotes", seq: 11, put: { DIA: quote("DIA") }, del: [] });
    expect(keys()).toEqual(["QQQ", "DIA"]);
  });

  it("is stale after 2.5 s without a message and live again with the next ping", () => {
    vi.advanceTimersByTime(2400);
    expect(stream.connection).toBe("live");
    vi.advanceTimersByTime(500);
    expect(stream.connection).toBe("stale");
    last().say({ type: "ping", ts: new Date().toISOString() });
    expect(stream.connection).toBe("live");
  });

  it("gives up a silent connection and opens another", () => {
    vi.advanceTimersByTime(6300);
    expect(sockets[0]!.shut).toBe(true);
    expect(stream.connection).toBe("offline");
    vi.advanceTimersByTime(250);
    expect(sockets).toHaveLength(2);
  });

  it("takes the numbers of a new connection from its snapshot", () => {
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(250);
    last().hello();
    last().say({ type: "delta", ch: "quotes", seq: 8, put: {}, del: ["SPY"] });
    expect(keys()).toEqual(["SPY", "QQQ"]);
    last().say({ type: "snapshot", ch: "quotes", seq: 1, items: { SPY: quote("SPY") } });
    last().say({ type: "delta", ch: "quotes", seq: 2, put: { TLT: quote("TLT") }, del: [] });
    expect(keys()).toEqual(["SPY", "TLT"]);
    expect(stream.resyncs).toBe(0);
  });
});

describe("reconnecting", () => {
  it("waits longer after each failure, up to 15 s, and starts again after hello", () => {
    const waits: number[] = [];
    for (let failure = 0; failure < 9; failure += 1) {
      last().onclose?.({ code: 1006 });
      const before = sockets.length;
      const from = Date.now();
      while (sockets.length === before) vi.advanceTimersByTime(50);
      waits.push(Date.now() - from);
    }
    expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
    last().hello();
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(250);
    expect(sockets).toHaveLength(11);
  });

  it("does not come back after it was signed out", () => {
    const left = vi.fn();
    stream.onSignedOut = left;
    last().hello();
    last().onclose?.({ code: 4401 });
    vi.advanceTimersByTime(60_000);
    expect(left).toHaveBeenCalledOnce();
    expect(stream.connection).toBe("signed_out");
    expect(sockets).toHaveLength(1);
  });
});
