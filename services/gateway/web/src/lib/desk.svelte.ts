import { getContext, setContext } from "svelte";
import { Api } from "./api";
import { Stop } from "./stop.svelte";
import { Stream } from "./stream.svelte";
import type { FeedStatus, MarketSession, Session } from "./types";

const KEY = Symbol("desk");

/** What every panel shares: who is signed in, the live channels, the chosen account, the stop. */
export class Desk {
  readonly api = new Api();
  readonly stream = new Stream();
  readonly stop = new Stop(this.api, this.stream);
  session = $state.raw<Session | null>(null);
  chosenAccount = $state("");

  get channels() {
    return this.stream.channels;
  }

  get accounts(): string[] {
    const { balances, risk, portfolio, positions } = this.channels;
    const holders = positions.list().map((position) => position.account_number);
    return [...new Set([...balances.items.keys(), ...risk.items.keys(), ...portfolio.items.keys(), ...holders])].sort();
  }

  get account(): string {
    const accounts = this.accounts;
    return accounts.includes(this.chosenAccount) ? this.chosenAccount : (accounts[0] ?? "");
  }

  get mode(): string {
    return (this.stream.hello?.mode ?? this.session?.mode ?? "").toUpperCase();
  }

  get feed(): FeedStatus | undefined {
    return this.channels.feed.get("feed") as FeedStatus | undefined;
  }

  get market(): MarketSession | undefined {
    return this.channels.feed.get("session") as MarketSession | undefined;
  }

  /** Null while the gate is not known. */
  get armed(): boolean | null {
    const gate = this.channels.gate.get("gate");
    return gate ? gate.armed_accounts.includes(this.account) : null;
  }

  get mayTrade(): boolean {
    return this.session?.role === "trader" || this.session?.role === "admin";
  }

  get mayOperate(): boolean {
    return this.session !== null && this.session.role !== "viewer";
  }

  /** Why nothing can be proposed now; empty when it can. */
  get paused(): string {
    if (this.stop.stopped) return "Trading is stopped";
    if (this.stream.connection !== "live") return "Prices are not updating";
    return "";
  }
}

export function provideDesk(desk: Desk): Desk {
  return setContext(KEY, desk);
}

export function useDesk(): Desk {
  return getContext<Desk>(KEY);
}
