"""Every metric of marketdata."""

from prometheus_client import Counter, Gauge, Histogram

events = Counter("tt_marketdata_events_total", "Feed events received", ["event_type"])
conflated = Counter("tt_marketdata_conflated_total", "Ticks replaced by a newer one before they were sent")
batches = Counter("tt_marketdata_batches_total", "Column batches published")
batch_failures = Counter("tt_marketdata_batch_failures_total", "Column batches that could not be published")
symbols = Gauge("tt_marketdata_symbols", "Subscribed feed symbols")
connected = Gauge("tt_marketdata_connected", "1 while the feed streams")
flush_seconds = Histogram(
    "tt_marketdata_flush_seconds",
    "Time to encode and publish what changed",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25),
)
reference_failures = Counter("tt_marketdata_reference_failures_total", "Broker reads that failed", ["what"])
