"""A tastytrade-compatible broker simulator with a market that moves."""
