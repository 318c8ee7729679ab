"""Scans every watched chain and publishes the ranked candidates with their reasons."""
