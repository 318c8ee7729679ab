"""What every service needs to run: settings, bus, telemetry, health, clock, database, watchdog."""
