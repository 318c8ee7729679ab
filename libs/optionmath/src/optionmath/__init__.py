"""Option pricing kernels: prices, greeks, implied volatility, probabilities, calendars."""
