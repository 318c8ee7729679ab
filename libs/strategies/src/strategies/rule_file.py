"""Rule sets as TOML: errors that name line, key, value and range; the shipped sets; writing one with comments.

A file holds `name = value` lines at the top level, names as in `RuleSet`; what it leaves out keeps its default.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from schemas.trade import SpreadType
from strategies.rules import RuleSet

_FIELDS = RuleSet.model_fields
_HEADINGS = {
    "name": "What this rule set is",
    "strategies": "What is enumerated",
    "quote_max_age_seconds": "Hard filters: all must hold",
    "fee_per_contract": "Score and size",
    "basket_size": "Basket",
    "profit_target_pct": "Exits",
    "roll_credit_min": "Rolls",
    "trade_size_max_pct": "Size of one trade",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file. line counts from 1; 0 = not of one line."""

    line: int
    key: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


class RuleFileError(ValueError):
    """A rule file that cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(f"{source}: " + "; ".join(str(each) for each in problems))


def load(source: Path | str) -> RuleSet:
    """Read a rule set from a path, or from TOML text (a str with a line break or an equals sign).

    Raises RuleFileError with every problem found.
    """
    if isinstance(source, Path) or not ("\n" in source or "=" in source or not source.strip()):
        name, text = str(source), _text(Path(source))
    else:
        name, text = "rule set", source
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        raise RuleFileError(name, [Problem(int(at[1]) if at else 0, "", f"this is not TOML: {error}")]) from None
    problems: list[Problem] = []
    known = {
        key: _plain(key, value, text, problems) for key, value in values.items() if _known(key, value, text, problems)
    }
    try:
        rules = RuleSet.model_validate(known, strict=True)
    except ValidationError as error:
        seen = {each.key for each in problems}
        for each in error.errors():
            key = str(each["loc"][0])
            if key not in seen:
                problems.append(Problem(_line(key, text), key, _refused(key, values.get(key), each["msg"])))
    else:
        problems += [Problem(_line(key, text), key, message) for key, message in contradictions(rules)]
    if problems:
        raise RuleFileError(name, sorted(problems, key=lambda each: (each.line, each.key)))
    return rules


def shipped() -> tuple[str, ...]:
    """Names of the rule sets that come with the product, the default first."""
    names = sorted(each.name[:-5] for each in _folder().iterdir() if each.name.endswith(".toml"))
    return ("default", *(name for name in names if name != "default"))


def shipped_text(name: str) -> str:
    """The TOML of a shipped rule set, to be copied and changed. Raises KeyError, with close names."""
    if name not in shipped():
        raise KeyError(f"there is no rule set {name!r}{_close(name, shipped())}; shipped are {', '.join(shipped())}")
    return (_folder() / f"{name}.toml").read_text(encoding="utf-8")


def load_shipped(name: str) -> RuleSet:
    """A shipped rule set. Raises KeyError for an unknown name."""
    return load(shipped_text(name))


def find(source: str) -> RuleSet:
    """The rule set a user means: the name of a shipped one, else the path of a file. Raises RuleFileError."""
    return load_shipped(source) if source in shipped() else load(Path(source))


def contradictions(rules: RuleSet) -> list[tuple[str, str]]:
    """(name, message) of values that are fine alone and cannot hold together."""
    pairs = (("dte_min", "dte_max"), ("short_delta_min", "short_delta_max"), ("roll_days_min", "roll_days_max"),
             ("dividend_cover_min", "dividend_cover_watch"))  # fmt: skip
    found = [
        (low, f"{low} = {getattr(rules, low)} is above {high} = {getattr(rules, high)}")
        for low, high in pairs
        if getattr(rules, low) > getattr(rules, high)
    ]
    if rules.stop_basis == "price_multiple" and rules.stop_multiple <= 1:
        found.append(("stop_multiple", f"stop_multiple = {rules.stop_multiple} with stop_basis = 'price_multiple' "
                      "would close at the opening price: it must be above 1"))  # fmt: skip
    return found


def allowed(name: str) -> str:
    """The range of a setting in words: `0 to 1`, `above 0`, `true or false`. Raises KeyError."""
    field = _FIELDS[name]
    if name == "strategies":
        return "names of structures"
    if field.annotation is bool:
        return "true or false"
    if field.annotation is str:
        return "a text"
    if field.annotation not in (int, float):
        return " or ".join(f'"{each}"' for each in getattr(field.annotation, "__args__", ()))
    return _range(field)


def render(rules: RuleSet) -> str:
    """Write a rule set as commented TOML that `load` reads back unchanged."""
    lines: list[str] = []
    for name, field in _FIELDS.items():
        if name in _HEADINGS:
            lines += ["", f"# --- {_HEADINGS[name]} ---", ""] if lines else [f"# --- {_HEADINGS[name]} ---", ""]
        lines += [f"# {about}" for about in (field.description or "").splitlines()]
        lines.append(f"{name} = {_toml(getattr(rules, name))}  # {allowed(name)}")
    return "\n".join(lines) + "\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = f"{_close(str(path), shipped())}; shipped are {', '.join(shipped())}" if path.parent == Path() else ""
        raise RuleFileError(str(path), [Problem(0, "", f"cannot be read ({reason}){hint}")]) from None


def _folder() -> Traversable:
    return resources.files("strategies") / "rule_sets"


def _known(key: str, value: object, text: str, problems: list[Problem]) -> bool:
    if key in _FIELDS:
        return True
    if isinstance(value, dict):
        found = re.search(rf"^\s*\[\s*{re.escape(key)}", text, re.MULTILINE)
        line = text.count("\n", 0, found.end()) + 1 if found else _line(key, text)
        problems.append(Problem(line, key, f"[{key}] is a section: write every name at the top level"))
    else:
        problems.append(Problem(_line(key, text), key, f"{key} is not a setting{_close(key, _FIELDS)}"))
    return False


def _plain(key: str, value: object, text: str, problems: list[Problem]) -> object:
    """TOML's own types as the model's."""
    if key != "strategies" or not isinstance(value, list):
        return value
    names: list[SpreadType] = []
    for each in value:
        try:
            names.append(SpreadType(each))
        except ValueError:
            shown = f"strategies holds {each!r}, which is not a structure"
            problems.append(
                Problem(_line(key, text), key, shown + _close(str(each), [known.value for known in SpreadType]))
            )
    return tuple(names)


def _refused(key: str, value: object, message: str) -> str:
    if value is None:
        return f"{key}: {message}"
    return f"{key} = {_toml(value)} is refused: allowed is {allowed(key)} ({message[0].lower()}{message[1:]})"


def _range(field: FieldInfo) -> str:
    bounds = {
        name: bound
        for each in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if (bound := getattr(each, name, None)) is not None
    }
    low = f"{bounds['ge']}" if "ge" in bounds else f"above {bounds['gt']}" if "gt" in bounds else None
    high = f"{bounds['le']}" if "le" in bounds else f"below {bounds['lt']}" if "lt" in bounds else None
    whole = "whole numbers, " if field.annotation is int else ""
    if low is not None and high is not None:
        return f"{whole}{low} to {high}" if not low.startswith("above") else f"{whole}{low}, up to {high}"
    if low is not None:
        return f"{whole}{low}" if low.startswith("above") else f"{whole}{low} or more"
    return f"{whole}{high} or less" if high is not None else f"{whole}any number"


def _close(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f": did you mean {' or '.join(found)}?" if found else ""


def _line(key: str, text: str) -> int:
    found = re.search(rf"""^[ \t]*["']?{re.escape(key)}["']?\s*[=.]""", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 0


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(str(each)) for each in value) + "]"
    return str(value)
