"""REST, WebSocket and web UI for people and programs."""
