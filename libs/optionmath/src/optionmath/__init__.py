"""Option pricing kernels: prices, greeks, implied volatility, smiles and their distributions, payoffs, calendars."""
