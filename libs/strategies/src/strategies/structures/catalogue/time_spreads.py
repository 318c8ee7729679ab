"""Structures of two expirations: calendars and diagonals."""

from __future__ import annotations

from strategies.structures.template import Bias, Condition, Context, Strikes, Structure, VolatilityView, define

BULLISH, BEARISH, NEUTRAL, EITHER_WAY = Bias.BULLISH, Bias.BEARISH, Bias.NEUTRAL, Bias.EITHER_WAY
LONG, SHORT = VolatilityView.LONG, VolatilityView.SHORT

_DEEP = 0.05
"""How far in the money, as a fraction of the price, a long option must be to stand in for shares."""


def _call_stands_in(strikes: Strikes, context: Context) -> bool:
    spot = context.spot
    return spot is not None and float(strikes["a"]) <= spot * (1 - _DEEP) and float(strikes["b"]) >= spot


def _put_stands_in(strikes: Strikes, context: Context) -> bool:
    spot = context.spot
    return spot is not None and float(strikes["b"]) >= spot * (1 + _DEEP) and float(strikes["a"]) <= spot


CALL_STANDS_IN = Condition("the long call must be 5 % in the money and the short one out of it", _call_stands_in)
PUT_STANDS_IN = Condition("the long put must be 5 % in the money and the short one out of it", _put_stands_in)

_STILL = "the near option decaying while the price stays at the strike"
_AWAY = "a large move away from the strike, or falling volatility"
_NAKED = "the price staying at the strike; the far option is uncovered after the near one expires"

STRUCTURES: tuple[Structure, ...] = (
    define(
        "call_calendar", "call calendar", "-1 call a | +1 call a far", "a: atm",
        bias=NEUTRAL, volatility=LONG, also=("long call calendar", "call time spread"), gains=_STILL, risks=_AWAY,
    ),
    define(
        "put_calendar", "put calendar", "-1 put a | +1 put a far", "a: atm",
        bias=NEUTRAL, volatility=LONG, also=("long put calendar", "put time spread"), gains=_STILL, risks=_AWAY,
    ),
    define(
        "short_call_calendar", "short call calendar", "+1 call a | -1 call a far", "a: atm",
        bias=EITHER_WAY, volatility=SHORT, gains=_AWAY, risks=_NAKED,
    ),
    define(
        "short_put_calendar", "short put calendar", "+1 put a | -1 put a far", "a: atm",
        bias=EITHER_WAY, volatility=SHORT, gains=_AWAY, risks=_NAKED,
    ),
    define(
        "double_calendar", "double calendar", "-1 put a | +1 put a far | -1 call b | +1 call b far",
        "a: delta 0.35 | b: delta 0.35",
        bias=NEUTRAL, volatility=LONG,
        gains="near options decaying while the price stays around the strikes",
        risks="a large move beyond the strikes, or falling volatility",
    ),
    define(
        "calendar_straddle", "calendar straddle", "-1 put a | +1 put a far | -1 call a | +1 call a far", "a: atm",
        bias=NEUTRAL, volatility=LONG, also=("straddle calendar",), gains=_STILL, risks=_AWAY,
    ),
    define(
        "call_diagonal", "call diagonal", "+1 call a far | -1 call b", "a: atm | b: delta 0.30",
        or_legs="-1 call a | +1 call b far",
        bias=BULLISH, volatility=LONG, also=("long call diagonal",),
        gains="a slow rise to the short strike", risks="a fall, or a rise far beyond the short strike",
    ),
    define(
        "put_diagonal", "put diagonal", "-1 put a | +1 put b far", "b: atm | a: delta 0.30",
        or_legs="+1 put a far | -1 put b",
        bias=BEARISH, volatility=LONG, also=("long put diagonal",),
        gains="a slow fall to the short strike", risks="a rise, or a fall far below the short strike",
    ),
    define(
        "short_call_diagonal", "short call diagonal", "-1 call a far | +1 call b", "a: delta 0.55 | b: delta 0.30",
        or_legs="+1 call a | -1 call b far",
        bias=BEARISH, volatility=SHORT,
        gains="a fall or falling volatility", risks="a rise; the far call is uncovered after the near one expires",
    ),
    define(
        "short_put_diagonal", "short put diagonal", "+1 put a | -1 put b far", "b: delta 0.55 | a: delta 0.30",
        or_legs="-1 put a far | +1 put b",
        bias=BULLISH, volatility=SHORT,
        gains="a rise or falling volatility", risks="a fall; the far put is uncovered after the near one expires",
    ),
    define(
        "double_diagonal", "double diagonal", "+1 put a far | -1 put b | -1 call c | +1 call d far",
        "b: delta 0.30 | c: delta 0.30 | a: b - 1 width | d: c + 1 width",
        bias=NEUTRAL, volatility=LONG,
        gains="near options decaying while the price stays between the short strikes",
        risks="a large move beyond the strikes, or falling volatility",
    ),
    define(
        "poor_mans_covered_call", "poor man's covered call", "+1 call a far | -1 call b",
        "a: delta 0.80 | b: delta 0.30", condition=CALL_STANDS_IN, far_dte=150,
        bias=BULLISH, volatility=LONG, also=("PMCC", "synthetic covered call"),
        gains="a slow rise to the short strike and time passing", risks="a fall, up to the debit",
    ),
    define(
        "poor_mans_covered_put", "poor man's covered put", "-1 put a | +1 put b far",
        "b: delta 0.80 | a: delta 0.30", condition=PUT_STANDS_IN, far_dte=150,
        bias=BEARISH, volatility=LONG, also=("PMCP", "synthetic covered put"),
        gains="a slow fall to the short strike and time passing", risks="a rise, up to the debit",
    ),
)  # fmt: skip
