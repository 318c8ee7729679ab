"""Streams quotes, greeks, trades, chains and metrics from the broker to the bus."""
