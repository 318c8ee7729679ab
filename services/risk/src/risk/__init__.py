"""The only place that says yes: controls, reservations and the gate."""
