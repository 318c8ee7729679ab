"""Every metric of the analyzer."""

from prometheus_client import Gauge, Histogram

reading_seconds = Histogram(
    "tt_analyzer_reading_seconds", "Time of one round of readings", ["kind"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)  # fmt: skip
missing_quotes = Gauge("tt_analyzer_missing_quotes", "Held contracts without a usable quote", ["account"])
