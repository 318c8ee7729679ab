"""The HTTP interface: REST under /api/v1, the WebSocket, the page."""
