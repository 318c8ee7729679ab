/** Messages of the gateway as JSON. `Decimal` is a decimal string; a missing fact is null, never zero. */

export type Decimal = string;
export type Role = "viewer" | "trader" | "risk" | "operator" | "admin";
export type Mode = "SIM" | "PAPER" | "CERT" | "LIVE";

export interface Session {
  username: string;
  role: Role;
  csrf_token: string;
  mode: string;
}

export interface Leg {
  occ_symbol: string;
  action: "Buy to Open" | "Sell to Open" | "Buy to Close" | "Sell to Close";
  quantity: number;
}

export interface RuleResult {
  rule: string;
  passed: boolean;
  value: number | null;
  limit: number | null;
  comparison: ">=" | "<=" | "==" | "in";
  margin: number | null;
  unit: string;
  detail: string;
}

export interface ManagedTrade {
  pop: number;
  pop_error: number;
  expected_value: number;
  expected_value_error: number;
  days: number;
  target_share: number;
  stop_share: number;
  time_share: number;
}

export interface Candidate {
  ts_event: string;
  candidate_id: string;
  cycle_id: string;
  underlying_symbol: string;
  spread_type: string;
  legs: Leg[];
  quantity: number;
  expiration: string;
  dte: number;
  sector: string;
  mid_price: Decimal;
  natural_price: Decimal;
  expected_fill_price: Decimal;
  limit_price: Decimal;
  width: Decimal;
  max_profit: Decimal;
  max_loss: Decimal;
  breakevens: Decimal[];
  pop: number | null;
  expected_value: number | null;
  expected_value_q: number | null;
  score: number | null;
  momentum_z: number | null;
  flow_z: number | null;
  delta: number | null;
  beta_weighted_delta: number | null;
  gamma: number | null;
  theta: number | null;
  vega: number | null;
  underlying_price: Decimal;
  oldest_quote_at: string | null;
  managed: ManagedTrade | null;
  thesis: string;
  passed: boolean;
  rules: RuleResult[];
  rank: number | null;
  in_basket: boolean;
}

export interface ScanCycle {
  cycle_id: string;
  ts_event: string;
  started_at: string;
  duration_ms: number;
  rule_set: string;
  rule_set_version: number;
  underlyings: number;
  contracts: number;
  quotes_usable: number;
  evaluated: number;
  passed: number;
  rejected_by_rule: Record<string, number>;
  only_rejected_by_rule: Record<string, number>;
  data_quality: Record<string, number>;
  skipped: Record<string, string>;
  basket: string[];
  basket_score: number | null;
  greedy_score: number | null;
  basket_delta: number | null;
  basket_vega: number | null;
  message: string;
  executed: boolean;
  next_at?: string | null;
}

export interface OrderEvent {
  ts_event: string;
  account_number: string;
  intent_id: string;
  state: string;
  previous_state: string | null;
  purpose: "open" | "close";
  strategy_id: string;
  source: string;
  underlying_symbol: string;
  spread_type: string;
  legs: Leg[];
  quantity: number;
  filled_quantity: number;
  limit_price: Decimal;
  worst_price: Decimal;
  average_fill_price: Decimal | null;
  decision_mid: Decimal | null;
  broker_order_id: string | null;
  reason_code: string;
  reason: string;
  rules: RuleResult[];
  thesis: string;
  walk_step: number;
  created_at: string;
}

export interface Fill {
  account_number: string;
  intent_id: string | null;
  broker_order_id: string;
  fill_id: string;
  occ_symbol: string;
  action: Leg["action"];
  quantity: number;
  fill_price: Decimal;
  fees: Decimal | null;
  filled_at: string;
}

export interface PositionLeg {
  occ_symbol: string;
  signed_quantity: number;
  average_open_price: Decimal;
  mark: Decimal | null;
}

export interface Position {
  account_number: string;
  underlying_symbol: string;
  legs: PositionLeg[];
  frozen: boolean;
  reason: string;
}

export interface PositionPnl {
  underlying_symbol: string;
  open_pnl: Decimal | null;
  delta: number | null;
  theta: number | null;
  vega: number | null;
  marks: Record<string, Decimal>;
}

export interface PortfolioReading {
  account_number: string;
  positions: PositionPnl[];
  open_pnl: Decimal | null;
  delta: number | null;
  theta: number | null;
  vega: number | null;
  missing_quotes: number;
}

export interface Balance {
  account_number: string;
  net_liq: Decimal | null;
  buying_power: Decimal | null;
  day_pnl: Decimal | null;
}

export interface LimitGauge {
  name: string;
  value: number | null;
  limit: number | null;
  unit: string;
  used_pct: number | null;
  level: string;
}

export interface RiskState {
  account_number: string;
  gauges: LimitGauge[];
  armed: boolean;
  day_trades: number;
}

export interface GateRow {
  scope: "all" | "account" | "strategy" | "underlying";
  scope_value: string;
  mode: string;
  revision: number;
  who: string;
  why: string;
  changed_at: string;
}

export interface GateState {
  revision: number;
  rows: GateRow[];
  armed_accounts: string[];
}

export interface KillAck {
  service: string;
  instance: string;
  gate_revision: number | null;
  working_orders: number | null;
}

export interface Kill {
  command_id: string;
  scope: string;
  scope_value: string;
  mode: string;
  who: string;
  why: string;
  requested_at: string;
  acks: KillAck[];
  confirmed: boolean;
  working_orders: number | null;
}

export interface Heartbeat {
  service: string;
  instance: string;
  mode: string;
  gate_revision: number | null;
  killed: boolean;
  loop_lag_ms: number;
  started_at: string;
  ready: boolean;
  reason: string;
  memory_mb: number | null;
  age_seconds: number;
}

export interface FeedStatus {
  connected: boolean;
  reason: string;
  symbols: number;
  events_per_second: number;
  last_event_at: string | null;
  reconnects: number;
  dropped: number;
}

export interface MarketSession {
  phase: "open" | "closed" | "pre_market" | "extended";
  opens_at: string | null;
  closes_at: string | null;
  market_date: string;
}

export interface Quote {
  symbol: string;
  bid: number | null;
  ask: number | null;
  last: number | null;
  previous_close: number | null;
  at: string | null;
}

export interface RiskDecision {
  account_number: string;
  proposal_id: string;
  intent_id: string;
  approved: boolean;
  underlying_symbol: string;
  reason_codes: string[];
  controls: RuleResult[];
  candidate_id: string | null;
  quantity: number;
  reserved_max_loss: Decimal | null;
  reserved_buying_power: Decimal | null;
}

export interface Channels {
  cycle: ScanCycle;
  candidates: Candidate;
  orders: OrderEvent;
  fills: Fill;
  positions: Position;
  portfolio: PortfolioReading;
  balances: Balance;
  risk: RiskState;
  gate: GateState;
  kill: Kill;
  health: Heartbeat;
  feed: FeedStatus | MarketSession;
  quotes: Quote;
  decisions: RiskDecision;
}

export type Channel = keyof Channels;
