"""`tastytrades scan`: the live scan over recorded chains, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from optionmath.sessions import closes_at
from schemas.symbols import parse_occ
from schemas.trade import Candidate
from strategies.chainfile import ChainFileError, read, read_facts, sessions, snapshots
from strategies.rule_file import RuleFileError, find
from strategies.scan import ScanResult, scan
from tastytrades.runtime import RuntimeFault

WIDE = 150
"""Columns of a terminal that shows every figure."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished scan with where it came from."""

    path: Path
    session: date
    result: ScanResult


def scan_file(
    path: Path,
    underlyings: Sequence[str],
    session: date | None,
    net_liq: float,
    facts: Path | None,
    rules: str = "default",
) -> Outcome:
    """Scan one session of a chain file (the last one by default). Raises RuntimeFault with the file's fault."""
    try:
        rule_set = find(rules)
        frame = read(path)
        day = session or sessions(frame)[-1]
        known = read_facts(facts) if facts else None
        chains = list(snapshots(frame, day, underlyings, known))
    except (ChainFileError, RuleFileError) as error:
        raise RuntimeFault(str(error)) from None
    now = closes_at(day)
    if now is None:
        raise RuntimeFault(f"{day} is not a trading session")
    spy = next((chain.spot for chain in chains if chain.underlying_symbol == "SPY"), None)
    return Outcome(path, day, scan(chains, rule_set, net_liq=net_liq, now=now, spy_price=spy, cycle_id=f"{day}"))


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The machine form. Candidates are `Candidate` messages; their JSON Schema is `docs/contract/Candidate.json`."""
    result = outcome.result
    return {
        "file": outcome.path.name,
        "session": outcome.session.isoformat(),
        "rule_set": result.rules.model_dump(mode="json"),
        "net_liq": result.net_liq,
        "underlyings": result.underlyings,
        "contracts": result.contracts,
        "quotes_usable": result.quotes_usable,
        "data_quality": dict(result.data_quality),
        "skipped": result.skipped,
        "evaluated": result.evaluated,
        "passed": result.passed_count,
        "rejected_by_rule": dict(result.rejected_by_rule),
        "only_rejected_by_rule": dict(result.only_rejected_by_rule),
        "message": result.basket.message,
        "basket": [each.candidate_id for each in result.basket.chosen],
        "candidates": [each.model_dump(mode="json") for each in result.passed],
        "near_misses": [each.model_dump(mode="json") for each in result.near_misses],
    }


def show(console: Console, outcome: Outcome, rows: int) -> None:
    """Print the ranked table, the nearest misses when nothing passed, and the reasons counted per rule."""
    result, wide = outcome.result, console.width >= WIDE
    console.print(
        f"[bold]{outcome.path.name}[/] session {outcome.session}: {result.underlyings} chains, "
        f"{result.contracts:,} contracts, {result.quotes_usable:,} usable quotes, "
        f"{result.evaluated:,} structures judged, [bold]{result.passed_count:,} passed[/]",
        highlight=False,
    )
    if result.passed:
        console.print(_candidates("Passed, best first", result.passed[:rows], misses=False, wide=wide))
    if result.near_misses:
        shown = result.near_misses[: rows if not result.passed else max(3, rows // 4)]
        console.print(_candidates("Nearest misses", shown, misses=True, wide=wide))
    console.print(_reasons(result))
    for reason, count in result.data_quality.most_common():
        console.print(f"quotes left out, {reason.replace('_', ' ')}: {count:,}", highlight=False)
    for name, reason in result.skipped.items():
        console.print(f"[yellow]{name} was not scanned: {reason}[/]")
    if result.basket.message:
        console.print(f"[bold]{result.basket.message}[/]")
        if result.passed and all(each.beta_weighted_delta is None for each in result.passed):
            console.print(
                "A basket needs each underlying's beta and a price of SPY: give --facts and a file that has SPY."
            )
    else:
        chosen = ", ".join(f"{each.underlying_symbol} {each.spread_type.value}" for each in result.basket.chosen)
        console.print(f"[bold]Basket:[/] {chosen}", highlight=False)


def _candidates(title: str, candidates: Sequence[Candidate], *, misses: bool, wide: bool) -> Table:
    """Ranked rows; a narrow terminal gets what decides, a wide one the greeks and the thesis as well."""
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Ticker", no_wrap=True)
    table.add_column("Strategy")
    table.add_column("Legs", no_wrap=wide)
    numbers = ["DTE"] if misses and not wide else ["DTE", "Qty", "Credit", "Loss", "POP", "Managed", "Score"]
    if wide:
        numbers += ["Δ", "Θ", "Vega"]
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    if wide or misses:
        table.add_column("Missed by" if misses else "Thesis", overflow="fold")
    for each in candidates:
        known = {
            "DTE": str(each.dte),
            "Qty": str(each.quantity),
            "Credit": f"{each.expected_fill_price:.2f}",
            "Loss": f"{each.max_loss:.0f}",
            "POP": _known(each.pop, ".0%"),
            "Managed": _known(each.managed.pop if each.managed else None, ".0%"),
            "Score": _known(each.score, "+.3f"),
            "Δ": _known(each.delta, "+.1f"),
            "Θ": _known(each.theta, "+.2f"),
            "Vega": _known(each.vega, "+.2f"),
        }
        words = [misses_text(each) if misses else each.thesis] if wide or misses else []
        strategy = each.spread_type.value.replace("_", " ")
        table.add_row(each.underlying_symbol, strategy, legs_text(each), *(known[name] for name in numbers), *words)
    return table


def legs_text(candidate: Candidate) -> str:
    """Legs as a trader writes them: short/long strikes with the type."""
    parsed = [(parse_occ(leg.occ_symbol), leg.action.sign) for leg in candidate.legs]
    return " ".join(f"{'-' if sign < 0 else '+'}{each.strike.normalize():f}{each.option_type}" for each, sign in parsed)


def misses_text(candidate: Candidate) -> str:
    """Each failed rule with the value, the limit and by how much it misses."""
    parts = []
    for rule in candidate.rules:
        if rule.passed:
            continue
        if rule.value is None or rule.margin is None:
            parts.append(f"{rule.rule}: {rule.detail}")
        else:
            parts.append(
                f"{rule.rule} {rule.value:.6g}, needs {rule.comparison} {rule.limit:g}: "
                f"misses by {-rule.margin:.2g} {rule.unit}"
            )
    return "; ".join(parts)


def _reasons(result: ScanResult) -> Table:
    table = Table(title="Refused, per rule", title_justify="left", header_style="bold")
    table.add_column("Rule")
    table.add_column("Limit", justify="right")
    table.add_column("Refused", justify="right")
    table.add_column("By this rule alone", justify="right")
    limits = result.rules.model_dump()
    for rule, count in result.rejected_by_rule.most_common():
        table.add_row(rule, f"{limits[rule]:g}", f"{count:,}", f"{result.only_rejected_by_rule[rule]:,}")
    return table


def _known(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)
