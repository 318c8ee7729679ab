"""Measure the worked example on recorded sessions: `python docs/worked_example.py DATA`.

Prints the figures of `docs/worked-example.md` as Markdown and draws `docs/images/worked-example.svg`. DATA holds
the folders `chains_yahoo_2025`, `chains_cboe_2026`, `universe_2026`, `sectors` and `ohlc`; none is in this repository.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from optionmath.sessions import closes_at
from schemas.symbols import parse_occ
from schemas.trade import Candidate
from strategies.chain import ChainSnapshot, Facts
from strategies.chainfile import read, snapshots
from strategies.rules import RuleSet
from strategies.scan import ScanResult, prepare, scan

STOCKS, INDEX = date(2025, 12, 3), date(2026, 7, 24)
NET_LIQ, ROUNDS, BETA_DAYS_MIN = 100_000.0, 5, 40
CHART = Path(__file__).parent / "images" / "worked-example.svg"


def facts_of(data: Path) -> dict[str, Facts]:
    """GICS sector, and the beta to SPY of daily closes from 2026: after the session, so an illustration only."""
    sectors = pl.read_csv(data / "sectors" / "sp500_constituents_gics.csv")
    sector = dict(zip(sectors["Symbol"].to_list(), sectors["GICS Sector"].to_list(), strict=True))
    closes = pl.read_csv(data / "universe_2026" / "underlying_daily_20260526_20260821.csv")
    table = closes.pivot(on="symbol", index="date", values="close").sort("date")
    found = {}
    for name in table.columns[1:]:
        both = table.select("SPY", pl.col(name).alias("own")).drop_nulls().to_numpy().astype(np.float64)
        moves = np.diff(np.log(both), axis=0)
        if len(moves) >= BETA_DAYS_MIN:
            slope = float(np.cov(moves[:, 1], moves[:, 0])[0, 1] / np.var(moves[:, 0], ddof=1))
            found[name] = Facts(sector=sector.get(name, "Unknown"), beta=slope)
    return found


def spy_closes(data: Path, until: date) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Daily closes of SPY up to a day."""
    frame = pl.read_csv(data / "ohlc" / "SPY_daily_2016_2026.csv")
    return frame.filter(pl.col("Date") <= until.isoformat())["Close"].to_numpy().astype(np.float64)


def measured(chains: Sequence[ChainSnapshot], session: date, spy_price: float) -> tuple[ScanResult, float, float]:
    """A scan with the CPU seconds of the whole, and of what follows the smiles; medians."""
    now = closes_at(session)
    if now is None:
        raise SystemExit(f"{session} is not a trading session")
    rules = RuleSet()
    whole, rest = [], []
    scan(chains[:1], rules, net_liq=NET_LIQ, now=now)  # loads the compiled code
    for _ in range(ROUNDS):
        started = time.process_time()
        result = scan(chains, rules, net_liq=NET_LIQ, now=now, spy_price=spy_price, cycle_id="example")
        whole.append(time.process_time() - started)
        prepared = [prepare(chain, rules) for chain in chains]
        started = time.process_time()
        scan(prepared, rules, net_liq=NET_LIQ, now=now, spy_price=spy_price, cycle_id="example")
        rest.append(time.process_time() - started)
    return result, float(np.median(whole)), float(np.median(rest))


def described(title: str, result: ScanResult, whole: float, rest: float) -> str:
    """The figures of one session as Markdown."""
    lines = [f"## {title}", "", f"- underlyings {result.underlyings}, contracts {result.contracts:,}, "]
    lines[-1] += f"usable quotes {result.quotes_usable:,}; left out: "
    lines[-1] += ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in result.data_quality.most_common())
    kinds = ", ".join(f"{kind.value.replace('_', ' ')} {count:,}" for kind, count in result.by_kind.items())
    lines += [
        f"- structures judged {result.evaluated:,}: {kinds}",
        f"- passed every rule {result.passed_count:,}",
        f"- CPU time {whole:.2f} s, of which {rest:.2f} s judge, count, rank and write; the rest fits smiles",
        "",
        "| rule | refused | by this rule alone |",
        "|---|---:|---:|",
    ]
    for rule, count in result.rejected_by_rule.most_common():
        lines.append(f"| `{rule}` | {count:,} | {result.only_rejected_by_rule.get(rule, 0):,} |")
    lines += ["", f"Basket: {result.basket.message or ''}"]
    if result.basket.chosen:
        lines[-1] += f"score {result.basket.score:+.4f}, greedy {result.basket.greedy_score or 0:+.4f}, "
        lines[-1] += f"delta {result.basket.delta:+.1f} SPY shares, vega {result.basket.vega:+.1f} $ a point"
        lines += [
            "",
            "| ticker | sector | structure | legs | days | units | credit | max loss | POP | score |",
            "|---|---|---|---|---:|---:|---:|---:|---:|---:|",
        ]
        for each in result.basket.chosen:
            legs = _legs(each)
            lines.append(
                f"| {each.underlying_symbol} | {each.sector} | {each.spread_type.value.replace('_', ' ')} | {legs} "
                f"| {each.dte} | {each.quantity} | {each.expected_fill_price:.2f} | {each.max_loss:.0f} "
                f"| {each.pop or 0:.1%} | {each.score or 0:+.4f} |"
            )
    nearest = result.near_misses[0]
    missed = next(rule for rule in nearest.rules if not rule.passed)
    lines += [
        "",
        f"Nearest miss: {nearest.underlying_symbol} {nearest.spread_type.value.replace('_', ' ')}, {nearest.dte} days: "
        f"`{missed.rule}` is {missed.value:.9g}, needs {missed.comparison} {missed.limit:g}.",
        "",
    ]
    return "\n".join(lines)


def _legs(candidate: Candidate) -> str:
    parsed = [(parse_occ(leg.occ_symbol), leg.action.sign) for leg in candidate.legs]
    return " ".join(f"{'+' if sign > 0 else '−'}{each.strike.normalize():f}{each.option_type}" for each, sign in parsed)


def chart(results: Sequence[tuple[str, ScanResult]]) -> str:
    """Bars per rule, as a share of the structures judged: refused, and refused by that rule alone."""
    rules = [rule.rule for rule in results[0][1].near_misses[0].rules]
    row, left, wide, top = 30, 210, 430, 64
    height = top + row * len(rules) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(results) * (wide + 90) + left} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="100%" height="{height}" fill="#ffffff"/>',
    ]
    for column, (title, result) in enumerate(results):
        x = left + column * (wide + 90)
        parts.append(f'<text x="{x}" y="24" font-weight="bold">{title}</text>')
        parts.append(
            f'<text x="{x}" y="44" fill="#555">{result.evaluated:,} judged, {result.passed_count:,} passed</text>'
        )
        for line, rule in enumerate(rules):
            y = top + line * row
            if column == 0:
                parts.append(f'<text x="{left - 10}" y="{y + 14}" text-anchor="end">{rule}</text>')
            for count, color, thick in (
                (result.rejected_by_rule.get(rule, 0), "#9db7d5", 18),
                (result.only_rejected_by_rule.get(rule, 0), "#c0392b", 8),
            ):
                size = wide * count / result.evaluated
                parts.append(
                    f'<rect x="{x}" y="{y + (18 - thick) / 2}" width="{size:.1f}" height="{thick}" fill="{color}"/>'
                )
            share = result.rejected_by_rule.get(rule, 0) / result.evaluated
            parts.append(f'<text x="{x + wide * share + 6:.1f}" y="{y + 14}" fill="#333">{share:.1%}</text>')
    parts.append(
        f'<text x="{left}" y="{height - 8}" fill="#555">Light: refused by the rule. Red: refused by this rule alone. '
        "Share of all structures judged.</text></svg>"
    )
    return "\n".join(parts) + "\n"


def main() -> int:
    """Both sessions; returns 2 without the folder."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.stderr.write("usage: python docs/worked_example.py DATA\n")
        return 2
    data = Path(sys.argv[1])
    stocks = read(data / "chains_yahoo_2025" / "us_10names_20251125_20251205.parquet")
    chains = list(snapshots(stocks, STOCKS, (), facts_of(data)))
    first = measured(chains, STOCKS, float(spy_closes(data, STOCKS)[-1]))
    closes = spy_closes(data, INDEX)
    realised = float(np.std(np.diff(np.log(closes[-31:])), ddof=1) * 252**0.5)
    spy = list(snapshots(read(data / "chains_cboe_2026" / "SPY.parquet"), INDEX, ["SPY"]))
    known = Facts(sector="ETF", beta=1.0, historical_volatility=realised)
    second = measured([replace(chain, facts=known) for chain in spy], INDEX, float(closes[-1]))
    titles = (f"Ten stocks, {STOCKS}", f"SPY, {INDEX}")
    for title, found in zip(titles, (first, second), strict=True):
        sys.stdout.write(described(title, *found))
    CHART.write_text(chart([(titles[0], first[0]), (titles[1], second[0])]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
