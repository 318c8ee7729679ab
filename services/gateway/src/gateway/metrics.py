"""Every metric of the gateway."""

from prometheus_client import Counter, Gauge, Histogram

connections = Gauge("tt_gateway_connections", "Open WebSocket connections")
deltas = Counter("tt_gateway_deltas_total", "Deltas sent, by channel", ["channel"])
resyncs = Counter("tt_gateway_resyncs_total", "Snapshots sent because a reader was slow or missed one", ["channel"])
requests = Histogram(
    "tt_gateway_request_seconds", "Time of API requests", ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)  # fmt: skip
logins = Counter("tt_gateway_logins_total", "Logins", ["outcome"])
kills = Counter("tt_gateway_kills_total", "Stops asked for at the gateway")
kill_seconds = Histogram(
    "tt_gateway_kill_seconds", "Time from the request to the gate's commit",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)  # fmt: skip
outbox_failures = Counter("tt_gateway_outbox_failures_total", "Failed attempts to publish the outbox")
