"""Every metric of the guardian."""

from prometheus_client import Counter, Gauge, Histogram

stops = Counter("tt_guardian_stops_total", "Stops heard of, by the road they came on", ["road"])
cancels = Counter("tt_guardian_cancels_total", "Cancellations asked for, by what the broker said", ["outcome"])
sweep_seconds = Histogram(
    "tt_guardian_sweep_seconds", "Time of one sweep of every account, cancellations included",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
working = Gauge("tt_guardian_unwanted_orders", "Orders a stop concerns that can still fill, at the last sweep")
stopping = Gauge("tt_guardian_stopping", "1 while a stop is being carried out")
executor_age = Gauge("tt_guardian_executor_age_seconds", "Time since anything was heard of the executor")
broker_age = Gauge("tt_guardian_broker_age_seconds", "Time since the broker last gave its list of orders")
bus = Gauge("tt_guardian_bus_connected", "1 while the bridge to the bus is up; the guardian works without it")
alarms = Counter("tt_guardian_alarms_total", "Calls for a person, by what is wrong", ["code"])
