"""The order core and its PostgreSQL journal."""
