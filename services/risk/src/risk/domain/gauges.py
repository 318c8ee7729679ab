"""Where an account stands against its limits, and when it passes 80, 95 and 100 % of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ledger.limits import HardLimits
from risk.domain import revaluation
from risk.domain.case import Number, lost, plus, scaled, share, structures_of, worst_sum
from risk.domain.facts import Account, Market
from risk.domain.positions import losses
from risk.domain.worst_case import worst_case
from schemas.orders import LimitGauge

LEVELS = ((100.0, "violation"), (95.0, "critical"), (80.0, "warning"))
_OF_NET_LIQ = "% of net liq"


@dataclass(frozen=True, slots=True)
class Passing:
    """A limit passed a level: upwards, or back below."""

    gauge: LimitGauge
    before: str


def gauges(account: Account, market: Market, limits: HardLimits) -> tuple[LimitGauge, ...]:
    """Every limit of the account as a gauge, worst first; what is not known comes before everything."""
    net_liq = account.net_liq
    opens = account.opens
    power = sum((each.buying_power for each in opens), Decimal(0))
    worst = worst_case(account.held, account.orders)
    day = lost(account.start_of_day_net_liq, net_liq)
    delta, vega = revaluation.greeks(((each.occ_symbol, each.signed_quantity) for each in account.held), market)
    shares = worst_sum(delta, [each.delta for each in opens])
    spy = market.spy_price
    stress = revaluation.worst_stress(account, market)

    def pct(amount: Number | None) -> Decimal | None:
        return share(amount, net_liq)

    entries: list[tuple[str, Number | None, str, str]] = [
        ("buying_power_used", pct(plus(account.maintenance_requirement, power)), "buying_power_used_max_pct",
         _OF_NET_LIQ),
        ("open_order_value", pct(sum((each.max_loss for each in opens), Decimal(0))), "open_order_value_max_pct",
         _OF_NET_LIQ),
        ("exposure", pct(worst.total), "exposure_max_pct", _OF_NET_LIQ),
        ("underlying", pct(_greatest(worst.of_underlying)), "underlying_max_pct", _OF_NET_LIQ),
        ("positions", len(structures_of(account)), "positions_max", "structures"),
        ("sector_positions", _most_of_a_sector(account), "sector_positions_max", "structures"),
        ("daily_loss_pct", pct(day), "daily_loss_max_pct", _OF_NET_LIQ),
        ("weekly_loss", pct(lost(account.start_of_week_net_liq, net_liq)), "weekly_loss_max_pct", _OF_NET_LIQ),
        ("drawdown", share(lost(account.high_water_mark, net_liq), account.high_water_mark), "drawdown_max_pct", "%"),
        ("beta_delta", pct(None if shares is None or spy is None else shares * spy), "beta_delta_max_pct", _OF_NET_LIQ),
        ("vega", pct(worst_sum(vega, [each.vega for each in opens])), "vega_max_pct", "% of net liq a point"),
        ("value_at_risk", pct(revaluation.value_at_risk(account, market)), "var_max_pct", _OF_NET_LIQ),
        ("position_loss", pct(_greatest(losses(account.held, market))), "position_loss_max_pct", _OF_NET_LIQ),
        ("trades_today", account.activity.trades_today, "daily_trades_max", "trades"),
        ("automated_trades_today", account.activity.automated_trades_today, "daily_trades_automated_max", "trades"),
        ("messages_today", account.activity.traffic.today, "messages_per_day", "messages"),
        ("working_orders", len(opens), "working_orders_max", "orders"),
        ("unknown_orders", sum(each.unknown for each in account.orders), "unknown_orders_max", "orders"),
    ]  # fmt: skip
    found = [gauge(name, value, limits.of(limit), unit) for name, value, limit, unit in entries]
    found.append(gauge("daily_loss", day, scaled(limits.of("daily_loss_max"), net_liq), "$"))
    found.append(gauge("stress", None if stress is None else pct(stress.loss), None, _OF_NET_LIQ))
    free = pct(plus(account.buying_power, -power))
    found.append(_reserve(free, limits.of("cash_reserve_min_pct")))
    return tuple(sorted(found, key=lambda each: -(each.used_pct if each.used_pct is not None else _rank(each))))


def gauge(name: str, value: Number | None, limit: Decimal | None, unit: str) -> LimitGauge:
    """A value against a ceiling. Without value or limit nothing is said of its use."""
    if value is None or limit is None:
        level = "ok" if limit is None and value is not None else "unknown"
        return LimitGauge(
            name=name, value=None if value is None else round(float(value), 4),
            limit=None if limit is None else float(limit), unit=unit, level=level,
        )  # fmt: skip
    used = 100 * float(value) / float(limit) if limit else (0.0 if not value else 100.0)
    return LimitGauge(
        name=name, value=round(float(value), 4), limit=float(limit), unit=unit, used_pct=round(used, 2),
        level=level_of(used),
    )  # fmt: skip


def level_of(used_pct: float) -> str:
    """Word for a share of a limit."""
    return next((word for bound, word in LEVELS if used_pct >= bound), "ok")


def passings(before: Mapping[str, str], now: Sequence[LimitGauge]) -> tuple[Passing, ...]:
    """Gauges whose level differs from the one last told. A first reading counts from `ok`, so that a start tells it."""
    found = [Passing(each, before.get(each.name, "ok")) for each in now if each.level != before.get(each.name, "ok")]
    return tuple(each for each in found if "unknown" not in (each.gauge.level, each.before))


def _reserve(free: Decimal | None, minimum: Decimal | None) -> LimitGauge:
    """A floor: 100 % used when only the reserve is left."""
    if free is None or minimum is None:
        return gauge("cash_reserve", None, minimum, _OF_NET_LIQ)
    used = float((100 - free) / (100 - minimum) * 100)
    return LimitGauge(
        name="cash_reserve", value=round(float(free), 4), limit=float(minimum), unit=_OF_NET_LIQ,
        used_pct=round(used, 2), level=level_of(used),
    )  # fmt: skip


def _rank(each: LimitGauge) -> float:
    return 1e9 if each.level == "unknown" else -1.0


def _greatest(amounts: Mapping[object, Decimal | None] | Mapping[str, Decimal | None]) -> Decimal | None:
    values = list(amounts.values())
    known = [each for each in values if each is not None]
    return None if len(known) < len(values) else max(known, default=Decimal(0))


def _most_of_a_sector(account: Account) -> int:
    sectors = list(structures_of(account).values())
    return max((sectors.count(each) for each in set(sectors)), default=0)
