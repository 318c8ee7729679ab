"""Structures, hard filters with reasons, score and basket, shared by every part that judges a trade."""
