/** Words the page uses for names of the contract. */

const STRUCTURES: Record<string, string> = {
  put_credit_spread: "Put credit spread",
  call_credit_spread: "Call credit spread",
  iron_condor: "Iron condor",
  custom: "Custom",
};

const SHORT_STRUCTURES: Record<string, string> = {
  put_credit_spread: "Put spread",
  call_credit_spread: "Call spread",
};

const RULES: Record<string, string> = {
  pop_min: "Probability of profit",
  fair_value_gap_pct_max: "Gap to fair value",
  credit_to_max_loss_min: "Credit to max loss",
  max_loss_pct_of_net_liq: "Max loss of net liq",
  open_interest_min: "Least open interest",
  volume_min: "Least volume",
  spread_pct_max: "Widest bid-ask",
  quote_max_age_seconds: "Oldest quote",
  days_clear_of_event_min: "Days clear of earnings",
};

const STATES: Record<string, string> = {
  proposed: "Proposed",
  denied: "Denied by risk",
  approved: "Approved",
  expired: "Expired unsent",
  withdrawn: "Withdrawn",
  submitting: "Sending",
  not_sent: "Not sent",
  rejected: "Rejected by broker",
  unknown: "Outcome unknown",
  quarantine: "Outcome unknown, looking it up",
  dead: "Never became an order",
  acked: "Received by broker",
  working: "Working",
  cancel_pending: "Cancelling",
  replace_pending: "Repricing",
  filled: "Filled",
  cancelled: "Cancelled",
  broker_expired: "Expired at broker",
  venue_rejected: "Rejected by venue",
  removed: "Removed by broker",
};

const GATE_MODES: Record<string, string> = {
  run: "Running",
  halt_opens: "No new opening orders",
  reduce_only: "Only orders that reduce a position",
  cancel_working: "Nothing is sent, working orders are cancelled",
  flatten: "Nothing is sent, working orders are cancelled, positions are closed by hand",
};

const TERMINAL = new Set([
  "denied", "expired", "withdrawn", "not_sent", "rejected", "dead", "filled", "cancelled", "broker_expired",
  "venue_rejected", "removed",
]);
const CANCELLABLE = new Set(["approved", "acked", "working", "replace_pending"]);

function plain(name: string): string {
  const words = name.replace(/_/g, " ").replace(/\bpct\b/g, "%").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export const structureWord = (type: string): string => STRUCTURES[type] ?? plain(type);
export const shortStructureWord = (type: string): string => SHORT_STRUCTURES[type] ?? structureWord(type);
export const ruleWord = (name: string): string => RULES[name] ?? plain(name);
export const stateWord = (state: string): string => STATES[state] ?? plain(state);
export const gateModeWord = (mode: string): string => GATE_MODES[mode] ?? plain(mode);
export const gaugeWord = plain;

export const isTerminal = (state: string): boolean => TERMINAL.has(state);
export const isCancellable = (state: string): boolean => CANCELLABLE.has(state);

export function scopeWord(scope: string, value: string): string {
  return scope === "all" ? "Everything" : `${plain(scope)} ${value}`;
}
