"""Every metric of the executor."""

from prometheus_client import Counter, Gauge, Histogram

claims = Counter("tt_executor_claims_total", "Send permits asked for, by answer", ["answer"])
sends = Counter("tt_executor_sends_total", "Orders sent, by outcome", ["kind", "outcome"])
send_seconds = Histogram(
    "tt_executor_send_seconds", "Time from permit to the broker's answer",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15),
)  # fmt: skip
approval_to_wire_seconds = Histogram(
    "tt_executor_approval_to_wire_seconds", "Time from an approval to the request handed to the socket",
    buckets=(0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)  # fmt: skip
retries = Counter("tt_executor_retries_total", "New intents for sends that were proved not to be accepted")
cancels = Counter("tt_executor_cancels_total", "Cancellations asked for, by outcome", ["reason", "outcome"])
fills = Counter("tt_executor_fills_total", "Executions booked")
fill_visible_seconds = Histogram(
    "tt_executor_fill_visible_seconds", "Time from an execution, in the broker's words, to its booking",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60, 600),
)  # fmt: skip
slippage = Histogram(
    "tt_executor_slippage_dollars", "Decision mid less fill, a share, positive = worse than mid",
    buckets=(-0.1, -0.05, -0.02, 0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
)  # fmt: skip
slippage_of_profit = Histogram(
    "tt_executor_slippage_of_max_profit_pct", "Slippage in percent of the maximum profit, by the mid compared with",
    ["against"], buckets=(-10, -5, -2, -1, 0, 1, 2, 3, 5, 10, 20),
)  # fmt: skip
slippage_beyond = Counter("tt_executor_slippage_beyond_tolerance_total", "Fills worse than the tolerance")
sweeps = Counter("tt_executor_sweeps_total", "Comparisons of broker and ledger", ["outcome"])
unknown = Gauge("tt_executor_unknown_orders", "Orders whose fate is unknown", ["account"])
mismatches = Gauge("tt_executor_mismatches", "Underlyings in which broker and ledger disagree", ["account"])
foreign = Gauge("tt_executor_foreign_orders", "Working orders that somebody else placed", ["account"])
hung = Gauge("tt_executor_hung_structures", "Orders whose legs have filled unevenly for too long", ["account"])
stream_connected = Gauge("tt_executor_stream_connected", "1 while the account stream is live", ["account"])
lease_held = Gauge("tt_executor_lease_held", "1 while this process may send for the account", ["account"])
reconcile_age_seconds = Gauge(
    "tt_executor_reconcile_age_seconds", "Since broker and ledger were last compared", ["account"]
)
opens_held = Gauge("tt_executor_opens_held", "1 for each reason why nothing may be opened", ["account", "reason"])
clock_skew_seconds = Gauge("tt_executor_clock_skew_seconds", "Local less broker's clock")
recovery_seconds = Gauge(
    "tt_executor_recovery_seconds",
    "Of the newest recovery, by step; `all` from its begin to ready",
    ["account", "step"],
)
recoveries = Counter("tt_executor_recoveries_total", "Recoveries, by how they ended", ["outcome"])
lookups = Counter("tt_executor_lookups_total", "Look-ups of unknown orders, by what was found", ["outcome"])
alarms = Counter("tt_executor_alarms_total", "Calls for a person", ["code"])
outbox_failures = Counter("tt_executor_outbox_failures_total", "Failed attempts to publish the outbox")
