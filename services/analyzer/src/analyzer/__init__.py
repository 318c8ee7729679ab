"""Volatility and portfolio analytics."""
