"""Every metric of the executor."""

from prometheus_client import Counter, Gauge, Histogram

claims = Counter("tt_executor_claims_total", "Send permits asked for, by answer", ["answer"])
sends = Counter("tt_executor_sends_total", "Orders sent, by outcome", ["kind", "outcome"])
send_seconds = Histogram(
    "tt_executor_send_seconds", "Time from permit to the broker's answer",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15),
)  # fmt: skip
cancels = Counter("tt_executor_cancels_total", "Cancellations asked for, by outcome", ["reason", "outcome"])
fills = Counter("tt_executor_fills_total", "Executions booked")
slippage = Histogram(
    "tt_executor_slippage_dollars", "Decision mid less fill, a share, positive = worse than mid",
    buckets=(-0.1, -0.05, -0.02, 0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
)  # fmt: skip
sweeps = Counter("tt_executor_sweeps_total", "Comparisons of broker and ledger", ["outcome"])
unknown = Gauge("tt_executor_unknown_orders", "Orders whose fate is unknown", ["account"])
mismatches = Gauge("tt_executor_mismatches", "Underlyings in which broker and ledger disagree", ["account"])
stream_connected = Gauge("tt_executor_stream_connected", "1 while the account stream is connected")
outbox_failures = Counter("tt_executor_outbox_failures_total", "Failed attempts to publish the outbox")
