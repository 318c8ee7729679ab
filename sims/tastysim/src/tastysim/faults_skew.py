"""A wrong clock: times in what the broker says, moved."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

_MILLISECONDS = ("updated-at", "timestamp")


def skewed(said: Any, seconds: float) -> Any:
    """A copy with every time moved: date-times under names that end with `-at`, milliseconds of updates and pushes."""
    if isinstance(said, list):
        return [skewed(each, seconds) for each in said]
    if not isinstance(said, dict):
        return said
    return {name: _moved(name, value, seconds) for name, value in said.items()}


def _moved(name: str, value: Any, seconds: float) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and name in _MILLISECONDS and value:
        return value + round(seconds * 1000)
    if isinstance(value, str) and (name.endswith("-at") or name == "time"):
        try:
            moved = datetime.fromisoformat(value) + timedelta(seconds=seconds)
        except ValueError:
            return value
        text = moved.isoformat(timespec="milliseconds" if "." in value else "seconds")
        return text.replace("+00:00", "Z") if value.endswith("Z") else text
    return skewed(value, seconds)
