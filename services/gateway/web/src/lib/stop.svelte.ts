import { problemText, Problem, type Api } from "./api";
import type { Stream } from "./stream.svelte";
import type { GateRow, Kill } from "./types";

const RETRY_MS = [300, 600, 1200, 2400, 4800];
const POLL_MS = 1000;
const POLLS = 60;
const CLOCK_SLACK_MS = 5000;

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * The stop as the server tells it. A press goes by HTTP, so it works while the live connection is down; the words on
 * the page follow the gate and the acknowledgements, never the press.
 */
export class Stop {
  /** Time of the press while no answer has come. */
  sendingSince = $state<number | null>(null);
  failure = $state("");
  private command = $state.raw<{ command_id: string; revision: number } | null>(null);
  private polled = $state.raw<Kill | null>(null);

  constructor(
    private readonly api: Api,
    private readonly stream: Stream,
  ) {}

  /** Rows of the gate that hold something back. */
  get rows(): GateRow[] {
    return (this.stream.channels.gate.get("gate")?.rows ?? []).filter((row) => row.mode !== "run");
  }

  /** A stop was accepted that the gate on this page does not show yet. */
  get pending(): boolean {
    const gate = this.stream.channels.gate.get("gate");
    return this.command !== null && !((gate?.revision ?? 0) >= this.command.revision);
  }

  get stopped(): boolean {
    return this.rows.length > 0 || this.pending;
  }

  /** The stop that the page speaks of: this page's own, else the newest one that belongs to what the gate holds back. */
  get latest(): Kill | null {
    const known = new Map(this.stream.channels.kill.items);
    if (this.polled && !known.get(this.polled.command_id)?.confirmed) known.set(this.polled.command_id, this.polled);
    const own = this.command?.command_id;
    const since = Math.max(...this.rows.map((row) => Date.parse(row.changed_at))) - CLOCK_SLACK_MS;
    const fitting = [...known.values()].filter((kill) => {
      return kill.command_id === own || (!this.pending && Date.parse(kill.requested_at) >= since);
    });
    return this.stopped ? fitting.reduce<Kill | null>((a, b) => (a && a.requested_at > b.requested_at ? a : b), null) : null;
  }

  get confirmed(): boolean {
    return this.latest?.confirmed === true;
  }

  /** STOPPING until the acknowledgements are in; a gate that is held without a command of ours has nothing to wait for. */
  get word(): "RUNNING" | "STOPPING" | "STOPPED" {
    if (!this.stopped) return "RUNNING";
    return this.confirmed || (!this.pending && this.latest === null) ? "STOPPED" : "STOPPING";
  }

  async press(why: string): Promise<void> {
    if (this.sendingSince !== null) return;
    this.sendingSince = performance.now();
    this.failure = "";
    try {
      this.polled = null;
      this.command = await this.sendUntilAnswered(why);
      void this.follow(this.command.command_id);
    } catch (error) {
      this.failure = problemText(error);
    } finally {
      this.sendingSince = null;
    }
  }

  private async sendUntilAnswered(why: string): Promise<{ command_id: string; revision: number }> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.api.kill(why);
      } catch (error) {
        const answered = error instanceof Problem && error.status >= 400 && error.status < 500;
        const wait = RETRY_MS[attempt];
        if (answered || wait === undefined) throw error;
        await pause(wait);
      }
    }
  }

  /** While the live connection is down, ask for the acknowledgements. */
  private async follow(commandId: string): Promise<void> {
    for (let poll = 0; poll < POLLS && this.command?.command_id === commandId; poll += 1) {
      await pause(POLL_MS);
      if (this.stream.connection === "live") continue;
      this.polled = await this.api.killed(commandId).catch(() => this.polled);
      if (this.polled?.confirmed) return;
    }
  }
}
