"""Typed async client of the tastytrade Open API and DXLink."""
