"""Every metric of risk."""

from prometheus_client import Counter, Gauge, Histogram

decisions = Counter("tt_risk_decisions_total", "Decisions", ["outcome"])
denials = Counter("tt_risk_denials_total", "Controls that denied, each of a denial counted", ["control"])
decision_seconds = Histogram(
    "tt_risk_decision_seconds", "Time of one decision with its transaction",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1),
)  # fmt: skip
dry_run_seconds = Histogram(
    "tt_risk_dry_run_seconds", "Time until the broker's dry run answered", buckets=(0.02, 0.05, 0.1, 0.25, 0.5, 1)
)
dry_runs = Counter("tt_risk_dry_runs_total", "Dry runs asked for", ["outcome"])
limit_used = Gauge("tt_risk_limit_used_pct", "Use of each limit, 100 = at the limit", ["account", "limit"])
limit_passings = Counter("tt_risk_limit_passings_total", "Limits that reached a level", ["limit", "level"])
automatic_stops = Counter("tt_risk_automatic_stops_total", "Stops set by a limit", ["reason"])
outbox_failures = Counter("tt_risk_outbox_failures_total", "Failed attempts to publish the outbox")
