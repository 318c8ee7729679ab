import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Problem, type Api } from "./api";
import { Stop } from "./stop.svelte";
import { Stream } from "./stream.svelte";
import type { GateState, Kill } from "./types";

const AT = "2026-11-24T15:00:00Z";
const gate = (revision: number, mode: string): GateState => ({
  revision,
  rows: [{ scope: "all", scope_value: "", mode, revision, who: "sam", why: "test", changed_at: AT }],
  armed_accounts: [],
});
const kill = (confirmed: boolean, command_id = "k1", requested_at = AT): Kill => ({
  command_id, scope: "all", scope_value: "", mode: "cancel_working", who: "sam", why: "test", requested_at, acks: [], confirmed,
  working_orders: confirmed ? 0 : 2,
});

let stream: Stream;
let api: { kill: ReturnType<typeof vi.fn>; killed: ReturnType<typeof vi.fn> };
let stop: Stop;

beforeEach(() => {
  vi.useFakeTimers();
  stream = new Stream({ open: () => ({}) as WebSocket, now: () => Date.now(), random: () => 1 });
  api = { kill: vi.fn(), killed: vi.fn() };
  stop = new Stop(api as unknown as Api, stream);
  stream.channels.gate.snapshot(1, { gate: gate(4, "run") });
});

afterEach(() => vi.useRealTimers());

describe("the stop", () => {
  it("is stopping once accepted and confirmed only when the server says so", async () => {
    api.kill.mockResolvedValue({ command_id: "k1", revision: 5 });
    stream.connection = "live";
    await stop.press("test");
    expect([stop.stopped, stop.confirmed]).toEqual([true, false]);
    stream.channels.gate.snapshot(2, { gate: gate(5, "cancel_working") });
    stream.channels.kill.snapshot(1, { k1: kill(false) });
    expect([stop.stopped, stop.confirmed]).toEqual([true, false]);
    stream.channels.kill.snapshot(2, { k1: kill(true) });
    expect([stop.stopped, stop.confirmed]).toEqual([true, true]);
    stream.channels.gate.snapshot(3, { gate: gate(6, "run") });
    expect([stop.stopped, stop.confirmed, stop.latest]).toEqual([false, false, null]);
  });

  it("asks by HTTP for the confirmation while the live connection is down", async () => {
    api.kill.mockResolvedValue({ command_id: "k1", revision: 5 });
    api.killed.mockResolvedValue(kill(true));
    stream.connection = "offline";
    await stop.press("test");
    expect([stop.confirmed, stop.word]).toEqual([false, "STOPPING"]);
    await vi.advanceTimersByTimeAsync(1100);
    expect([stop.confirmed, stop.word]).toEqual([true, "STOPPED"]);
  });

  it("tries again when no answer comes, and says so when none ever does", async () => {
    api.kill.mockRejectedValue(new Problem(0, "The gateway does not answer"));
    const pressed = stop.press("test");
    await vi.advanceTimersByTimeAsync(10_000);
    await pressed;
    expect(api.kill).toHaveBeenCalledTimes(6);
    expect(stop.failure).toBe("The gateway does not answer");
    expect([stop.stopped, stop.sendingSince]).toEqual([false, null]);
  });

  it("does not repeat what was refused", async () => {
    api.kill.mockRejectedValue(new Problem(403, "Not allowed"));
    await stop.press("test");
    expect(api.kill).toHaveBeenCalledTimes(1);
    expect(stop.failure).toBe("Not allowed");
  });

  it("does not take the confirmation of an earlier stop for this one", () => {
    stream.channels.kill.snapshot(1, { k0: kill(true, "k0", "2026-11-24T09:00:00Z") });
    stream.channels.gate.snapshot(2, { gate: gate(5, "halt_opens") });
    expect([stop.word, stop.confirmed, stop.latest]).toEqual(["STOPPED", false, null]);
  });
});
