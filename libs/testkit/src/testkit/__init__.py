"""Pytest plugin: real servers, builders, Hypothesis strategies, fake clock."""
